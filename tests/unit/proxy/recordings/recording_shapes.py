"""Recordings like those that browsers, proxies and load generators write, whole and broken, and what is to be read of each.

A row is the name of a file, its bytes, and one text for each record: `POST /x 200 body`, with `cut` for a request of which only a part
was recorded, `...` behind the status of a response that was cut, `-` for no response and `failed` for a failed one; `skip KIND`; or
`malformed`. A file that is refused as a whole has the text `refused` and a part of the message.
"""

import gzip
import json
import zlib
from typing import Any, Final

import zstandard

from tests.property.proxy.recordings.test_formats import encode

Shape = tuple[str, bytes, tuple[str, ...]]

STARTED: Final = "2026-01-02T03:04:05.678Z"
ICON: Final = "https://a.example/i"


def entry(url: object = ICON, method: object = "GET", *, response: object = None, **more: Any) -> dict[str, Any]:
    """Return an entry; `request_...` are members of its request, the others of the entry."""
    request = {name.removeprefix("request_"): more.pop(name) for name in [*more] if name.startswith("request_")}
    return {
        "startedDateTime": STARTED,
        "time": 12.5,
        "request": {
            "method": method,
            "url": url,
            "httpVersion": "HTTP/1.1",
            "headers": [],
            "queryString": [],
            "cookies": [],
            "headersSize": -1,
            "bodySize": -1,
            **request,
        },
        "response": answer() if response is None else response,
        "cache": {},
        "timings": {"send": 0, "wait": 12.5, "receive": 0},
        **more,
    }


def answer(status: object = 200, text: str | None = "ok", **more: Any) -> dict[str, Any]:
    """Return the response of an entry."""
    content = {"size": len(text or ""), "mimeType": "text/plain", **({} if text is None else {"text": text})}
    return {"status": status, "statusText": "", "headers": [], "cookies": [], "content": content, **more}


def har(*entries: object, **log: object) -> bytes:
    """Return a HAR file."""
    document = {"log": {"version": "1.2", "creator": {"name": "any", "version": "1"}, "entries": list(entries), **log}}
    return json.dumps(document).encode()


def named(**headers: str) -> list[dict[str, str]]:
    return [{"name": name.replace("_", "-"), "value": value} for name, value in headers.items()]


def post(text: str | None, mime: str = "application/json", **more: Any) -> dict[str, Any]:
    return {"mimeType": mime, **({} if text is None else {"text": text}), **more}


WHOLE_HARS: Final[tuple[Shape, ...]] = (
    (
        "chrome-get.har",
        har(
            entry(
                _initiator={"type": "parser"},
                _priority="High",
                _resourceType="document",
                pageref="page_1",
                connection="443",
            )
        ),
        ("GET /i 200",),
    ),
    ("chrome-pages.har", har(entry(), pages=[{"id": "page_1", "title": "t", "pageTimings": {}}]), ("GET /i 200",)),
    (
        "chrome-json.har",
        har(entry(method="POST", request_postData=post('{"a":1}'), request_bodySize=7)),
        ('POST /i 200 {"a":1}',),
    ),
    (
        "chrome-form.har",
        har(
            entry(
                method="POST",
                request_postData=post(
                    "a=b+c", "application/x-www-form-urlencoded", params=[{"name": "a", "value": "b+c"}]
                ),
            )
        ),
        ("POST /i 200 a=b+c",),
    ),
    (
        "chrome-multipart.har",
        har(
            entry(
                method="POST",
                request_headers=named(content_length="900"),
                request_postData=post("--x\r\n\r\n\r\n--x--", "multipart/form-data; boundary=x"),
            )
        ),
        ("POST /i 200 cut",),
    ),
    ("chrome-upload.har", har(entry(method="PUT", request_bodySize=512)), ("PUT /i 200 cut",)),
    (
        "chrome-upload-length.har",
        har(entry(method="PUT", request_headers=named(content_length="5"))),
        ("PUT /i 200 cut",),
    ),
    (
        "chrome-own-urls.har",
        har(
            *map(
                entry,
                (
                    "data:image/png;base64,AAAA",
                    "data:text/html,<a href=http://b/>",
                    "blob:https://a.example/0b3c",
                    "about:blank",
                    "chrome-extension://abc/x.js",
                    "moz-extension://abc/x.js",
                    "safari-web-extension://abc/x.js",
                    "file:///home/a.html",
                    "filesystem:https://a.example/t",
                    "devtools://devtools/x",
                    "javascript:void(0)",
                    "ws://a.example/s",
                    "wss://a.example/s",
                ),
            ),
            entry(),
        ),
        (
            "skip data:",
            "skip data:",
            "skip blob:",
            "skip about:",
            "skip chrome-extension:",
            "skip moz-extension:",
            "skip safari-web-extension:",
            "skip file:",
            "skip filesystem:",
            "skip devtools:",
            "skip javascript:",
            "skip websocket",
            "skip websocket",
            "GET /i 200",
        ),
    ),
    (
        "chrome-websocket.har",
        har(
            entry(_webSocketMessages=[{"type": "send", "data": "x"}]),
            entry(_resourceType="websocket", response=answer(101)),
            entry(request_headers=named(Upgrade="websocket", Connection="Upgrade")),
        ),
        ("skip websocket",) * 3,
    ),
    ("chrome-blocked.har", har(entry(response=answer(0, _error="net::ERR_BLOCKED_BY_CLIENT"))), ("GET /i failed",)),
    ("chrome-cached.har", har(entry(_fromCache="disk")), ("GET /i 200",)),
    (
        "chrome-http2.har",
        har(
            entry(
                request_httpVersion="h2",
                request_headers=[{"name": ":method", "value": "GET"}, {"name": ":authority", "value": "b.example"}],
            )
        ),
        ("GET /i 200",),
    ),
    ("chrome-http3.har", har(entry(request_httpVersion="h3")), ("GET /i 200",)),
    (
        "chrome-evicted.har",
        har(entry(response=answer(text=None) | {"content": {"size": 9, "mimeType": ""}})),
        ("GET /i 200...",),
    ),
    ("chrome-service-worker.har", har(entry(_fetchedViaServiceWorker=True)), ("GET /i 200",)),
    ("firefox-offset.har", har(entry(startedDateTime="2026-01-02T03:04:05.678+02:00", time=3)), ("GET /i 200",)),
    (
        "firefox-params.har",
        har(
            entry(
                method="POST",
                request_postData=post("a=1", "application/x-www-form-urlencoded", params=[{"name": "a", "value": "1"}]),
            )
        ),
        ("POST /i 200 a=1",),
    ),
    ("firefox-blocked.har", har(entry(response=answer(0, ""))), ("GET /i failed",)),
    ("firefox-comment.har", har(entry(comment="", response=answer(comment="truncated")), comment="x"), ("GET /i 200",)),
    (
        "firefox-twice.har",
        har(entry(request_headers=[{"name": "X", "value": "1"}, {"name": "X", "value": "2"}])),
        ("GET /i 200",),
    ),
    (
        "safari-base64.har",
        har(entry(response=answer(text="b2s=") | {"content": {"size": 2, "text": "b2s=", "encoding": "base64"}})),
        ("GET /i 200",),
    ),
    ("safari-error.har", har(entry(response=answer(0), _error="cancelled")), ("GET /i failed",)),
    ("fiddler-ticks.har", har(entry(startedDateTime="2026-01-02T03:04:05.1234567+01:00")), ("GET /i 200",)),
    (
        "fiddler-tunnel.har",
        har(entry("a.example:443", "CONNECT"), entry("http://a.example:443", "CONNECT")),
        ("skip CONNECT", "skip CONNECT"),
    ),
    (
        "charles.har",
        har(entry(serverIPAddress="10.0.0.1", connection="7", response=answer(headersSize=120))),
        ("GET /i 200",),
    ),
    ("mitmproxy-params.har", har(entry(method="POST", request_postData=post("x", params=[]))), ("POST /i 200 x",)),
    ("insomnia.har", har(entry(request_cookies=[{"name": "a", "value": "b"}], comment="Request 1")), ("GET /i 200",)),
    (
        "without-response.har",
        har({**entry(), "response": None}, {"request": {"method": "GET", "url": ICON}}),
        ("GET /i -", "GET /i -"),
    ),
    (
        "playwright-attached.har",
        har(entry(response=answer(text=None) | {"content": {"size": 3, "_file": "a.bin"}})),
        ("GET /i 200...",),
    ),
    ("playwright-failed.har", har(entry(response=answer(-1, _failureText="net::ERR_ABORTED"))), ("GET /i failed",)),
    ("puppeteer.har", har(entry(_requestId="7.1", _initialPriority="VeryHigh")), ("GET /i 200",)),
    (
        "load-generator.har",
        har(entry(method="PATCH", request_postData={"text": "p", "mimeType": None})),
        ("PATCH /i 200 p",),
    ),
    ("byte-order-mark.har", b"\xef\xbb\xbf" + har(entry()), ("GET /i 200",)),
    ("utf-16.har", har(entry()).decode().encode("utf-16"), ("GET /i 200",)),
    ("indented.har", json.dumps(json.loads(har(entry())), indent=2).encode(), ("GET /i 200",)),
    ("header-pairs.har", har(entry(request_headers=[["A", "1"]])), ("GET /i 200",)),
    ("header-null.har", har(entry(request_headers=[{"name": "A", "value": None}])), ("GET /i 200",)),
    ("null-members.har", har(entry(request_headers=None, request_postData=None, time=None)), ("GET /i 200",)),
    ("negative-time.har", har(entry(time=-1)), ("GET /i 200",)),
    (
        "without-time.har",
        har({key: value for key, value in entry().items() if key != "startedDateTime"}),
        ("GET /i 200",),
    ),
    ("status-text.har", har(entry(response=answer("200"))), ("GET /i 200",)),
    ("fragment.har", har(entry("https://a.example/x?y#part")), ("GET /x?y 200",)),
    ("no-path.har", har(entry("https://a.example"), entry("https://a.example?x=1")), ("GET / 200", "GET /?x=1 200")),
    (
        "not-ascii.har",
        har(entry("https://bücher.example/café?q=ü&r=%C3%A9")),
        ("GET /caf%C3%A9?q=%C3%BC&r=%C3%A9 200",),
    ),
    ("kanji.har", har(entry("https://a.example/漢")), ("GET /%E6%BC%A2 200",)),
    ("ipv6.har", har(entry("http://[::1]:8080/x")), ("GET /x 200",)),
    ("upper-case.har", har(entry("HTTPS://A.example/x")), ("GET /x 200",)),
    ("method-of-webdav.har", har(entry(method="PROPFIND")), ("PROPFIND /i 200",)),
    (
        "utf-8-body.har",
        har(entry(method="POST", request_headers=named(content_length="2"), request_postData=post("é"))),
        ("POST /i 200 é",),
    ),
    (
        "latin-1-body.har",
        har(entry(method="POST", request_headers=named(content_length="1"), request_postData=post("é"))),
        ("POST /i 200 \udce9",),
    ),
    ("empty-body.har", har(entry(method="POST", request_postData=post(""), request_bodySize=0)), ("POST /i 200",)),
    (
        "head.har",
        har(entry(method="HEAD", response=answer(text=None, headers=named(content_length="9")))),
        ("HEAD /i 200",),
    ),
    ("not-modified.har", har(entry(response=answer(304, None, headers=named(content_length="9")))), ("GET /i 304",)),
    ("redirect.har", har(entry(response=answer(302, "", redirectURL="/b"))), ("GET /i 302",)),
    (
        "multipart-params.har",
        har(
            entry(
                method="POST",
                request_postData=post(None, "multipart/form-data", params=[{"name": "f", "fileName": "a.png"}]),
            )
        ),
        ("POST /i 200 cut",),
    ),
    (
        "params-null.har",
        har(entry(method="POST", request_postData=post(None, params=[{"name": "a", "value": None}]))),
        ("POST /i 200 a=",),
    ),
    ("compressed.har.gz", gzip.compress(har(entry())), ("GET /i 200",)),
    ("compressed.har.zst", zstandard.compress(har(entry())), ("GET /i 200",)),
    ("compressed.zhar", zlib.compress(har(entry())), ("GET /i 200",)),
    ("no-entries.har", har(), ()),
)

BROKEN_HARS: Final[tuple[Shape, ...]] = (
    ("empty.har", b"", ("refused", "the file is empty")),
    ("blank.har", b" \n", ("refused", "not a HAR")),
    ("object.har", b"{}", ("refused", "not a HAR: no member `log`")),
    ("log-only.har", b'{"log": {}}', ("refused", "not a HAR: no member `entries`")),
    ("log-text.har", b'{"log": "x"}', ("refused", "not a HAR")),
    ("entries-null.har", b'{"log": {"entries": null}}', ("refused", "`entries` is not a list")),
    ("entries-object.har", b'{"log": {"entries": {}}}', ("refused", "`entries` is not a list")),
    ("cut.har", har(entry())[:-20], ("refused", "not a HAR")),
    ("page.har", b"<!doctype html><title>Sign in</title>", ("refused", "not a HAR")),
    ("array.har", b"[1]", ("refused", "not a HAR")),
    ("two.har", har() + har(), ("refused", "Extra data")),
    ("comma.har", b'{"log": {"entries": [],}}', ("refused", "not a HAR")),
    ("deep.har", b"[" * 200_000, ("refused", "not a HAR")),
    ("zeros.har", bytes(64), ("refused", "not a HAR")),
    ("cut.har.gz", gzip.compress(har(entry()))[:-12], ("refused", "ended before")),
    ("broken.zhar", b"x\x9cbroken", ("refused", "not a HAR")),
    ("cut.zhar", zlib.compress(har(entry()))[:-5], ("refused", "not a HAR")),
    ("not-gzip.har.gz", b"\x1f\x8b\x08nothing", ("refused", "not-gzip.har.gz")),
    (
        "entries.har",
        har(
            None,
            7,
            {},
            {"request": None},
            entry(None),
            entry(5),
            entry(method=None),
            entry(method="GET /x HTTP/1.1\r\nX: y\r\n\r\nGET"),
            entry(method=""),
            entry("http:/x"),
            entry("x.html"),
            entry("http://\udc80bad\ud800/"),
            entry(f"http://{'ü' * 70}/"),
            entry(request_headers=[{"value": "1"}]),
            entry(request_headers=[{"name": "A B", "value": "1"}]),
            entry(request_headers=[{"name": "", "value": "1"}]),
            entry(request_headers=7),
            entry(request_headers=[["A"]]),
            entry(startedDateTime="yesterday"),
            entry(time="soon"),
            entry(response=answer("fine")),
            entry(response=answer(1e999)),
            entry(method="POST", request_postData=post("!", _encoding="base64")),
            entry(method="POST", request_postData=post("\ud800")),
            entry(),
        ),
        (*("malformed",) * 24, "GET /i 200"),
    ),
)


def flow(**changes: Any) -> dict[str, Any]:
    """Return the state of a flow; `request_...` and `response_...` are members of its messages."""
    request = {
        "method": b"GET", "path": b"/i", "host": "a.example", "port": 443, "scheme": b"https", "authority": b"",
        "headers": [], "content": b"", "timestamp_start": 1700000000.25, "timestamp_end": 1700000000.5,
    }  # fmt: skip
    response: dict[str, Any] = {"status_code": 200, "headers": [], "content": b"ok", "timestamp_end": 1700000001.25}
    for name in [*changes]:
        part, _, member = name.partition("_")
        if member and part in ("request", "response"):
            {"request": request, "response": response}[part][member] = changes.pop(name)
    return {
        "type": "http",
        "version": 21,
        "id": "f",
        "request": request,
        "response": response,
        "error": None,
        **changes,
    }


def flows(*states: object) -> bytes:
    """Return a flow file."""
    return b"".join(map(encode, states))


FLOWS: Final[tuple[Shape, ...]] = (
    ("plain.flow", flows(flow(), flow(request_method=b"PUT", request_content=b"b")), ("GET /i 200", "PUT /i 200 b")),
    ("http2.flow", flows(flow(request_authority=b"b.example", request_headers=[[b":path", b"/i"]])), ("GET /i 200",)),
    ("host-as-bytes.flow", flows(flow(version=4, request_host=b"a.example")), ("GET /i 200",)),
    ("raw-path.flow", flows(flow(request_path="/é".encode())), ("GET /Ã© 200",)),
    (
        "streamed.flow",
        flows(flow(request_content=None, response_content=None, response_headers=[[b"a", b"b"]])),
        ("GET /i 200... cut",),
    ),
    (
        "lengths.flow",
        flows(
            flow(request_headers=[[b"Content-Length", b"9"]], request_content=b"abc"),
            flow(response_headers=[[b"content-length", b"9"]]),
            flow(request_method=b"HEAD", response_headers=[[b"content-length", b"9"]], response_content=b""),
        ),
        ("GET /i 200 cut", "GET /i 200...", "HEAD /i 200"),
    ),
    (
        "failed.flow",
        flows(flow(response=None, error={"msg": "gone"}), flow(response=None)),
        ("GET /i failed", "GET /i -"),
    ),
    (
        "other-protocols.flow",
        flows(flow(type="tcp"), flow(type="udp"), flow(type="dns"), flow(websocket={"messages": []}), flow()),
        ("skip tcp", "skip udp", "skip dns", "skip websocket", "GET /i 200"),
    ),
    (
        "replayed.flow",
        flows(flow(is_replay="request"), flow(is_replay="response")),
        ("skip replay of a request", "skip replay of a response"),
    ),
    ("tunnel.flow", flows(flow(request_method=b"CONNECT", request_path=b"")), ("skip CONNECT",)),
    ("no-path.flow", flows(flow(request_path=b"")), ("malformed",)),
    (
        "types.flow",
        flows(7, flow(request={}), flow(request_headers=[[b"a b", b"c"]]), flow()),
        (*("malformed",) * 3, "GET /i 200"),
    ),
    ("cut.flow", flows(flow(), flow())[:-9], ("GET /i 200", "malformed")),
    ("first-cut.flow", flows(flow())[:-9], ("refused", "flow 1, byte 0: the data end inside a value")),
    ("text.flow", b"hello: world", ("refused", "not a tnetstring")),
    ("deep.flow", b"3:0:~]" * 3 + b"9" * 40, ("malformed",) * 3 + ("malformed",)),
    ("empty.flow", b"", ("refused", "the file is empty")),
)

GOR_END: Final = "\n🐵🙈🙉\n".encode()


def gor(*records: tuple[int, str, bytes]) -> bytes:
    """Return a .gor file of records: type, id and raw message."""
    return b"".join(f"{kind} {name} 1700000000000000000 0\n".encode() + raw + GOR_END for kind, name, raw in records)


def message(line: str, body: bytes = b"", **headers: str) -> bytes:
    """Return a raw message."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"{line}\r\n{lines}\r\n".encode() + body


GET: Final = message("GET /i HTTP/1.1", Host="a.example")
OK: Final = message("HTTP/1.1 200 OK", b"ok", Content_Length="2")
CONTINUE: Final = message("HTTP/1.1 100 Continue")

GORS: Final[tuple[Shape, ...]] = (
    ("pair.gor", gor((1, "a", GET), (2, "a", OK)), ("GET /i 200",)),
    ("response-first.gor", gor((2, "a", OK), (1, "a", GET)), ("GET /i 200",)),
    (
        "cut-request.gor",
        gor((1, "a", message("POST /i HTTP/1.1", b"abc", Content_Length="9")), (2, "a", OK)),
        ("POST /i 200 cut",),
    ),
    (
        "cut-chunks.gor",
        gor((1, "a", message("POST /i HTTP/1.1", b"4\r\nabcd\r\n9\r\nef", Transfer_Encoding="chunked"))),
        ("POST /i - cut",),
    ),
    ("cut-head.gor", gor((1, "a", b"GET /i HTTP/1.1\r\nHost: a.exam")), ("GET /i - cut",)),
    (
        "cut-response.gor",
        gor((1, "a", GET), (2, "a", message("HTTP/1.1 200 OK", b"{", Content_Length="3660"))),
        ("GET /i 200...",),
    ),
    (
        "cut-chunked-response.gor",
        gor((1, "a", GET), (2, "a", message("HTTP/1.1 200 OK", b"2\r\n{", Transfer_Encoding="chunked"))),
        ("GET /i 200...",),
    ),
    (
        "head.gor",
        gor((1, "a", message("HEAD /i HTTP/1.1")), (2, "a", message("HTTP/1.1 200 OK", Content_Length="9"))),
        ("HEAD /i 200",),
    ),
    (
        "not-modified.gor",
        gor((1, "a", GET), (2, "a", message("HTTP/1.1 304 Not Modified", Content_Length="9"))),
        ("GET /i 304",),
    ),
    ("continue.gor", gor((1, "a", GET), (2, "a", CONTINUE + OK)), ("GET /i 200",)),
    (
        "continue-twice.gor",
        gor((1, "a", GET), (2, "a", CONTINUE + message("HTTP/1.1 103 Early Hints", Link="</x>") + OK)),
        ("GET /i 200",),
    ),
    ("continue-apart.gor", gor((1, "a", GET), (2, "a", CONTINUE), (2, "a", OK)), ("GET /i 200",)),
    ("continue-only.gor", gor((1, "a", GET), (2, "a", CONTINUE)), ("GET /i -",)),
    ("until-close.gor", gor((1, "a", GET), (2, "a", message("HTTP/1.0 200 OK", b"all of it"))), ("GET /i 200",)),
    ("absolute.gor", gor((1, "a", message("GET http://b.example/x HTTP/1.1"))), ("GET /x -",)),
    ("orphan.gor", gor((2, "a", OK), (1, "b", GET)), ("GET /i -", "skip response without its request")),
    ("replayed.gor", gor((1, "a", GET), (2, "a", OK), (3, "a", OK)), ("GET /i 200", "skip response of a replay")),
    (
        "not-http.gor",
        gor((1, "a", b"\x16\x03\x01"), (1, "b", message("CONNECT a:443 HTTP/1.1"))),
        ("skip bytes that are not HTTP", "skip CONNECT"),
    ),
    ("websocket.gor", gor((1, "a", message("GET /s HTTP/1.1", Upgrade="WebSocket"))), ("skip websocket",)),
    ("preface.gor", gor((1, "a", message("PRI * HTTP/2.0"))), ("skip preface of HTTP/2",)),
    (
        "broken.gor",
        gor((1, "a", GET)) + b"1 x\nGET / HTTP/1.1\r\n\r\n" + GOR_END + gor((2, "a", b"nonsense"), (5, "a", GET)),
        ("malformed",) * 3 + ("GET /i -",),
    ),
    ("spaced-name.gor", gor((1, "a", b"GET /i HTTP/1.1\r\nX Y: 1\r\n\r\n")), ("malformed",)),
    ("empty.gor", b"", ("refused", "the file is empty")),
)

TARGETS: Final[tuple[Shape, ...]] = (
    (
        "three.http",
        b"GET http://goku:9090/path/to/dragon?item=ball\nGET http://user:password@goku:9090/path/to\nHEAD http://goku:9090/path/to/success\n",
        ("GET /path/to/dragon?item=ball -", "GET /path/to -", "HEAD /path/to/success -"),
    ),
    ("blank-lines.http", b"\n\nGET http://a/1\n\n\nGET http://a/2\n\n", ("GET /1 -", "GET /2 -")),
    ("no-last-line-end.http", b"GET http://a/1", ("GET /1 -",)),
    ("windows.http", b"GET http://a/1\r\nX-A: 1\r\n\r\nGET http://a/2\r\n", ("GET /1 -", "GET /2 -")),
    ("comments.http", b"# all\nGET http://a/1\n# one\nX-A: 1\nGET http://a/2\n", ("GET /1 -", "GET /2 -")),
    (
        "headers.http",
        b"POST http://a/1\nX-Account-ID: 8675309\nX: Y\nDELETE http://a/2\nAuthorization: Token DEADBEEF\n",
        ("POST /1 -", "DELETE /2 -"),
    ),
    (
        "bodies.http",
        b"POST http://a/1\n@body.json\nPOST http://a/2\nX-A: 1\n@body.json\n\nGET http://a/3\n",
        ("POST /1 - {}", "POST /2 - {}", "GET /3 -"),
    ),
    ("no-such-body.http", b"POST http://a/1\n@none.json\nGET http://a/2\n", ("malformed", "GET /2 -")),
    ("tabs.http", b"GET\thttp://a/1\nGET   http://a/2\n", ("GET /1 -", "GET /2 -")),
    ("not-ascii.http", "GET http://a/é\n".encode(), ("GET /Ã© -",)),
    ("own-urls.http", b"GET ftp://a/1\nGET ws://a/2\nGET http://a/3\n", ("skip ftp:", "skip websocket", "GET /3 -")),
    ("no-url.http", b"GET http://a/1\nX-A\n\nGET\n", ("malformed", "malformed")),
    ("byte-order-mark.http", b"\xef\xbb\xbfGET http://a/1\n", ("GET /1 -",)),
    (
        "targets.json",
        b'{"method":"GET","url":"http://a/1"}\n\n{"method":"POST","url":"http://a/2","body":"e30=","header":{"A":["1","2"]}}\n',
        ("GET /1 -", "POST /2 - {}"),
    ),
    ("not-ascii.json", '{"method":"GET","url":"http://bücher.example/é"}\n'.encode(), ("GET /%C3%A9 -",)),
    (
        "broken.json",
        b'{"method":"GET","url":"http://a/1"}\n{"method":"GET"}\n{"method":1,"url":"http://a/"}\n{"method":"GET","url":"data:,x"}\n[\n',
        ("GET /1 -", "malformed", "malformed", "skip data:", "malformed"),
    ),
)

ALL_SHAPES: Final = (*WHOLE_HARS, *BROKEN_HARS, *FLOWS, *GORS, *TARGETS)
