"""Convert the tests of other HTTP parsers into tests/data/corpus: `python -m tests.support.http_corpus_import FOLDER`.

FOLDER holds the source distributions named in `SOURCES`; tests/data/corpus/README.md says how to fetch them. Their files are read,
never executed: gunicorn's expectations are Python literals in the syntax tree, llhttp's are logs with offsets into the input. The
output is text, with bytes as latin-1.
"""

import ast
import hashlib
import json
import re
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DATA = Path(__file__).parents[1] / "data" / "corpus"
SOURCES = {
    "gunicorn-27.0.1.tar.gz": "b1514965361c8b7e8107a80aa2a92636878df1ccfac6dd204a676426e04d9e3e",
    "aiohttp-3.14.5.tar.gz": "5558a7f5a05af9ecf744af91e5baefc436f93c9333e656c27ec253f9a6bbe178",
}
LICENSES = {"gunicorn": "gunicorn-27.0.1/LICENSE", "llhttp": "aiohttp-3.14.5/vendor/llhttp/LICENSE"}

Json = dict[str, Any]


def main(folder: Path) -> None:
    """Write the cases and the licences."""
    files = {name: text for source, digest in SOURCES.items() for name, text in archive_files(folder / source, digest)}
    for name, path in LICENSES.items():
        (DATA / f"LICENSE.{name}").write_bytes(files[path])
    write("gunicorn", gunicorn_cases(files))
    write("llhttp", llhttp_cases(files))


def write(name: str, cases: list[Json]) -> None:
    """Write one case per line, so that diffs are readable."""
    lines = ",\n".join(json.dumps(case) for case in cases)
    (DATA / f"{name}.json").write_text(f"[\n{lines}\n]\n")


def archive_files(archive: Path, digest: str) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each file of a source distribution, after checking its digest."""
    actual = hashlib.sha256(archive.read_bytes()).hexdigest()
    if actual != digest:
        raise SystemExit(f"{archive} has the SHA-256 digest {actual}; expected {digest}")
    with tarfile.open(archive) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isfile() else None
            if file is not None:
                yield member.name, file.read()


# gunicorn: tests/requests/{valid,invalid}/NAME.http with NAME.py


def gunicorn_cases(files: dict[str, bytes]) -> list[Json]:
    """Return the cases of gunicorn in the order of their names."""
    pattern = re.compile(r"gunicorn-[^/]+/tests/requests/((?:in)?valid/.+)\.http")
    found = {match.group(1): name for name in files if (match := pattern.fullmatch(name))}
    return [gunicorn_case(name, files[path], files[path[:-4] + "py"]) for name, path in sorted(found.items())]


def gunicorn_case(name: str, http: bytes, python: bytes) -> Json:
    """Convert one case; `options` are gunicorn's settings, `error` is the name of the exception it raises."""
    names: dict[str, Any] = {}
    options: Json = {}
    for node in ast.parse(python).body:
        match node:
            case ast.Assign(targets=[ast.Name(id=target)], value=value):
                names[target] = literal(value, names)
            case ast.Expr(value=ast.Call(func=ast.Attribute(attr="set"), args=[key, value])):
                options[literal(key, names)] = literal(value, names)
            case _:
                pass
    request = names["request"]
    case: Json = {"name": name, "kind": "request", "data": gunicorn_data(http).decode("latin-1"), "options": options}
    if isinstance(request, str):
        return case | {"error": request, "messages": []}
    return case | {"error": "", "messages": [gunicorn_message(message) for message in as_list(request)]}


def literal(node: ast.expr, names: dict[str, Any]) -> Any:
    """Evaluate an expectation: literals, the few calls that occur in them, and names, which may stay unresolved."""
    match node:
        case ast.Constant(value=value):
            return value
        case ast.List(elts=elements) | ast.Tuple(elts=elements):
            return [literal(element, names) for element in elements]
        case ast.Dict(keys=keys, values=values):
            return {literal(key, names): literal(value, names) for key, value in zip(keys, values, strict=True) if key}
        case ast.Name(id=name):
            return names.get(name, name)
        case ast.Call(func=ast.Name(id="uri"), args=[raw]):
            return literal(raw, names)
        case ast.Call(func=ast.Name(id="Config")):
            return None
        case ast.Call(func=ast.Attribute(value=value, attr="encode" | "decode" | "replace" as method), args=args):
            return getattr(literal(value, names), method)(*[literal(arg, names) for arg in args])
        case _:
            raise ValueError(f"unexpected expression: {ast.dump(node)}")


def as_list(request: Any) -> list[Json]:
    return request if isinstance(request, list) else [request]


def gunicorn_message(request: Json) -> Json:
    body = request["body"]
    return {
        "method": request["method"],
        "target": request["uri"],
        "version": ".".join(map(str, request["version"])),
        "fields": request["headers"],
        "body": body.decode("latin-1") if isinstance(body, bytes) else body,
        "whole": True,
    }


def gunicorn_data(http: bytes) -> bytes:
    r"""Decode a .http file: line ends are layout, and the bytes to send are escaped as \r\n, \n, \t, \0 and \xHH."""
    plain = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"0": b"\0"}
    return re.sub(
        rb"\\(?:x([0-9A-Fa-f]{2})|([rnt0]))",
        lambda match: bytes.fromhex(match.group(1).decode()) if match.group(1) else plain[match.group(2)],
        http.replace(b"\n", b""),
    )


# llhttp: test/{request,response}/FILE.md, as aiohttp's source distribution has them

LLHTTP_LEFT_OUT = ("pausing",)
"""A file about the parser's API, whose messages also occur in other files."""
PART = re.compile(
    r"^##+ (?P<title>.+)$|^<!-- *meta=(?P<meta>\{.+\}) *-->$|^```(?P<block>http|log)\n(?P<text>[\s\S]*?)```$",
    re.MULTILINE,
)


def llhttp_cases(files: dict[str, bytes]) -> list[Json]:
    """Return the cases of llhttp in the order of the file names, then of their position in the file."""
    pattern = re.compile(r".+/vendor/llhttp/test/((request|response)/(.+))\.md")
    found = sorted((match.group(1), match.group(2), name) for name in files if (match := pattern.fullmatch(name)))
    cases: list[Json] = []
    for file, kind, name in found:
        if not file.endswith(LLHTTP_LEFT_OUT):
            cases += llhttp_file(file, kind, files[name].decode())
    return cases


def llhttp_file(file: str, kind: str, markdown: str) -> list[Json]:
    """Return the cases of one file; `mode` names the parser's lenient mode."""
    cases: list[Json] = []
    title, meta, data = "", {}, b""
    for part in PART.finditer(markdown):
        if part["title"]:
            title = f"{file}: {part['title']}"
        elif part["meta"]:
            meta = json.loads(part["meta"])
        elif part["block"] == "http":
            data = llhttp_data(part["text"])
        elif "skipBody" not in meta:
            mode = meta["type"].removeprefix(kind).lstrip("-")
            case = {"name": unique_title(title, cases), "kind": kind, "data": data.decode("latin-1"), "mode": mode}
            cases.append(case | llhttp_log(data, part["text"]))
    return cases


def unique_title(title: str, cases: list[Json]) -> str:
    """Return the title, with a number if another case has it already."""
    count = sum(re.fullmatch(re.escape(title) + r"(?: \(\d\))?", case["name"]) is not None for case in cases)
    return f"{title} ({count + 1})" if count else title


def llhttp_data(text: str) -> bytes:
    """Decode a block: a line ends in CRLF unless a backslash precedes it; escapes are JavaScript's, including octal ones."""
    joined = re.sub(r"\\\n", "", text.removesuffix("\n")).replace("\n", "\r\n")
    named = {"r": "\r", "n": "\n", "t": "\t", "f": "\f"}
    for escape, char in named.items():
        joined = joined.replace(f"\\{escape}", char)
    joined = re.sub(r"\\x([0-9a-fA-F]+)", lambda match: chr(int(match.group(1), 16)), joined)
    return re.sub(r"\\([0-7]{1,3})", lambda match: chr(int(match.group(1), 8)), joined).encode()


LINE = re.compile(
    r"off=(?:\d+|NULL) (?:message begin(?P<begin>)|error code=(?P<code>\d+) reason=\"(?P<reason>.*)\""
    r"|headers complete .*flags=(?P<flags>[0-9a-f]+) .*|message complete(?P<end>)|.*)"
)
SPAN = re.compile(r"off=(?P<off>\d+) len=(?P<len>\d+) span\[(?P<span>\w+)\]=.*")
SPANS = {"method": "method", "url": "target", "status": "reason", "version": "version", "body": "body"}


def llhttp_log(data: bytes, log: str) -> Json:
    """Return the messages in the log and its final error."""
    messages: list[Json] = []
    error = ""
    for line in log.splitlines():
        if (span := SPAN.fullmatch(line)) is not None:
            start, length = int(span["off"]), int(span["len"])
            add_span(messages[-1], span["span"], data[start : start + length].decode("latin-1"))
            continue
        entry = LINE.fullmatch(line)
        if entry is None:
            raise ValueError(f"unexpected log line: {line}")
        if entry["begin"] is not None:
            messages.append(
                {
                    "method": "",
                    "target": "",
                    "version": "",
                    "status": 0,
                    "reason": "",
                    "fields": [],
                    "body": "",
                    "whole": False,
                }
            )
        elif entry["flags"]:
            messages[-1]["flags"] = int(entry["flags"], 16)
            messages[-1]["status"] = int((re.search(r"status=(\d+)", line) or [0, 0])[1])
        elif entry["end"] is not None:
            messages[-1]["whole"] = True
        elif entry["code"]:
            error = f"{entry['code']} {entry['reason']}"
    return {"error": error, "messages": messages}


def add_span(message: Json, span: str, text: str) -> None:
    """Add a span to the message. A name or value may come in several spans: a name starts after a value. Trailers are ignored."""
    fields = message["fields"] if "flags" not in message else []
    if span == "header_field":
        if not fields or fields[-1][1] is not None:
            fields.append(["", None])
        fields[-1][0] += text
    elif span == "header_value" and fields:
        fields[-1][1] = (fields[-1][1] or "") + text
    elif span in SPANS:
        message[SPANS[span]] += text


if __name__ == "__main__":
    main(Path(sys.argv[1]))
