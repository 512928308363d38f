"""The head cache changes the cost of a result, never the result."""

from dataclasses import fields
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import MalformedError
from proxy.http1.head_cache import CachedRequestParser, CachedResponseParser, TwoGenerationLru
from proxy.http1.parser import parse_request, parse_response

USUAL = [
    "Accept: *",
    "Connection: X-A",
    "Content-Length: 5",
    "Cookie: a=b",
    "Date: x",
    "Expect: 100-continue",
    "Transfer-Encoding: chunked",
    "X-A: 1",
    "X-Request-Id: 1",
    "X-Request: 1",
    "x-request-id-2: 1%s",
    "X-%s-Key: %",
    "%: %(a)s",
    "X_Forwarded_For: 1",
    "x|y$: a: b",
    "Via: caf\xe9",
    f"{'K' * 61}Key: 1",
    f"{'K' * 62}Key: 1",
]
COLONS = (": ", ":", ":  ", " : ", ":\t", ": \t")
VALUES = (
    "",
    "0",
    "17",
    "+1",
    "1_0",
    "²",
    "1, 1",
    "chunked",
    "gzip, chunked",
    "identity",
    "close",
    "100-continue",
    "host, x-request-id",
    "%",
    "%s%%",
    "a: b",
    "v" * 300,
    "\xa0a",
    "a\x85",
    "a\x85X-A: 1",
    "\x80\xad\xff",
)
STRANGE = ("a\tb", " a", "a ", "a\t", "a\x00", "a\r", "a\n b", "a\r\nX-A: 2", "\x0bchunked", "a:80", "a/b", "\x7f")
TARGETS = ("/", "/?x", "/\xe9", "/\xad", "/%s", "/a#b", "http://b/", "*", "/a b", "/\x80", "/\x85", "b", "")
STATUSES = ("200 OK", "200 ", "200", "204 No Content", "304 Not Modified", "100 Continue", "502 \xe9", " 200 OK", "")
VERSIONS = st.sampled_from(("1.1", "1.1", "1.1", "1.0", "2.0"))
REQUEST_LINES = st.builds(
    "{} {} HTTP/{}".format, st.sampled_from(("GET", "POST", "OPTIONS", "BREW", "")), st.sampled_from(TARGETS), VERSIONS
)
STATUS_LINES = st.builds("HTTP/{} {}".format, VERSIONS, st.sampled_from(STATUSES))
METHODS = st.sampled_from(("GET", "HEAD", "POST"))


@st.composite
def head_and_variant(draw: st.DrawFn) -> tuple[list[str], list[str]]:
    """Draw the fields of a head, and the same with one of them changed, repeated or removed."""
    lines = ["Host: a", *draw(st.lists(st.sampled_from(USUAL), max_size=4, unique=True))]
    index = draw(st.integers(0, len(lines) - 1))
    name = lines[index].partition(":")[0]
    other = f"{draw(st.sampled_from((name, name, name.lower())))}{draw(st.sampled_from(COLONS))}"
    other += draw(st.sampled_from((*VALUES, *STRANGE)))
    also = f"{name.swapcase()}: {draw(st.sampled_from(VALUES))}"
    instead = draw(st.sampled_from(([other], [other], [lines[index], other], [other, also], [])))
    return lines, [*lines[:index], *instead, *lines[index + 1 :]]


def head_of(first: str, lines: list[str]) -> bytes:
    return "\r\n".join([first, *lines, "", ""]).encode("latin-1")


def read(parse: Any, head: bytes, **arguments: Any) -> object:
    """Return everything that is read of a head, or how it is rejected."""
    try:
        parsed = parse(head, **arguments)
    except MalformedError as error:
        return error.status, str(error)
    template, values = parsed.template, parsed.values
    seen = {
        field.name: getattr(parsed, field.name) for field in fields(parsed) if field.name not in ("template", "values")
    }
    forwarded = template.forwarded_fields(values)
    assert template.forwarded_text(values) == "".join(f"{name}: {value}\r\n" for name, value in forwarded)
    assert {name: template.value(name, values) for name in template.present} == parsed.first_values
    return {
        **seen,
        "fields": parsed.fields,
        "first_values": parsed.first_values,
        "forwarded": forwarded,
        "has_control_fields": template.has_control_fields,
    }


@settings(max_examples=100)
@given(head_and_variant(), REQUEST_LINES, st.sampled_from((0, 3)))
def test_cached_request_equals_parsed_request(lines: tuple[list[str], list[str]], first: str, fields_max: int) -> None:
    usual, changed = lines
    parser = CachedRequestParser()
    for head in [head_of("GET / HTTP/1.1", usual), head_of(first, usual), head_of(first, changed)] * 2:
        expected = read(parse_request, head, fields_max=fields_max)
        assert read(parser.parse, head, fields_max=fields_max) == expected


@settings(max_examples=100)
@given(head_and_variant(), STATUS_LINES, METHODS)
def test_cached_response_equals_parsed_response(lines: tuple[list[str], list[str]], first: str, method: str) -> None:
    usual, changed = lines
    parser = CachedResponseParser()
    for head in [head_of("HTTP/1.1 200 OK", usual), head_of(first, usual), head_of(first, changed)] * 2:
        for method_ in ("GET", method):
            assert read(parser.parse, head, method=method_) == read(parse_response, head, method=method_)


names = st.sampled_from(("X-V", "x-v", "X-V-Key", "X-V-Key2", "x-v-%s", "Cookie", "COOKIE", "Content-Length", "Accept"))
values = st.integers(0, 40).map(str) | st.sampled_from(VALUES)


@settings(max_examples=50)
@given(st.lists(st.lists(st.tuples(names, values), max_size=4), min_size=20, max_size=60))
def test_cached_heads_equal_parsed_heads_while_fields_get_slots(heads: list[list[tuple[str, str]]]) -> None:
    requests, responses = CachedRequestParser(), CachedResponseParser()
    for fields_ in heads:
        lines = [f"{name}: {value}" for name, value in fields_]
        head, response = head_of("GET / HTTP/1.1", ["Host: a", *lines]), head_of("HTTP/1.1 200 OK", lines)
        assert read(requests.parse, head, fields_max=0) == read(parse_request, head, fields_max=0)
        assert read(responses.parse, response, method="GET") == read(parse_response, response, method="GET")


@given(st.lists(st.integers(0, 30)), st.integers(2, 12))
def test_lru_is_bounded_and_returns_only_what_was_put(keys: list[int], entries_max: int) -> None:
    entries: TwoGenerationLru[int, int] = TwoGenerationLru(entries_max)
    for key in keys:
        assert entries.get(key) in (None, key + 1)
        entries.put(key, key + 1)
        assert entries.get_young(key) == entries.get(key) == key + 1
        assert len(entries) <= entries_max
