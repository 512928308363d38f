"""The fast encoding of an exchange equals, byte for byte, its encoded record."""

from collections.abc import Sequence
from typing import TypeVar

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from comparator.exchanges.model import Side
from comparator.exchanges.skip import Skip
from proxy.http1.forwarding_headers import ClientAddress, forwarding_block, valid_request_id
from proxy.http1.head_cache import CachedRequestParser, CachedResponseParser
from proxy.http1.parser import Framing
from proxy.journal.fast_encoder import FastEncoder, RawRecord
from proxy.journal.format import Record, decode_payload, encode_payload
from proxy.journal.served_exchange import ServedExchange

COMPRESSOR = zstandard.ZstdCompressor(level=1)
TOKEN = "eyJhbGciOi.eyJzdWIiOi.c2lnbmF0dXJl"

SECRET_NAMES = ("X-API-Key", "x-api-key", "X-API-KEY", "authorization", "Cookie", "Proxy-Authorization", "Set-Cookie")
SECRETS = ("s3cret", "S3cret 100%s", "s3cret" + "x" * 250)
ODD_SECRETS = ("", "s3cret\xe9", f"Bearer {TOKEN}s3cret", f"s3cret {TOKEN}")
VARYING = ("ETag", "Date", "x-my-token", "X-Request-Id", "Traceparent", "X-%s-Key", "Referer", "X-Forwarded-For")
NAMES = (*VARYING, "Accept", "X-%s", "%", "Via", "Forwarded", "N" * 64, "n" * 255)
ODD_NAMES = ("X-Shadow-Request", "N" * 256)
VALUES = ("*/*", "%", "100%s %(x)s", "v" * 31, "v" * 32, "v" * 37, "v" * 255, "eyJ", "eyJa.eyJb.")
ODD_VALUES = ("", "v" * 256, "v" * 300, "caf\xe9", "a\tb", TOKEN, f"x {TOKEN}")
HOSTS, ODD_HOSTS = ("a", "api.example:8080"), ("h" * 255, TOKEN)
TARGETS, ODD_TARGETS = (
    ("/", "/v2/%41/100%s", "/" + "t" * 300),
    ("/p?x=1", "/p?api_key=s3cret&x=1", "/\xe9", f"/{TOKEN}"),
)
STATUS_LINES = ("200 OK", "200 OK", "201 100%s", "204 No Content", "304 Not Modified", "502 \xe9")
BODIES, ODD_BODIES = (b"", b"{}", b"J%s\xff"), (TOKEN.encode(), b'{"user":')
Lines = list[tuple[str, str]]
T = TypeVar("T")


def mostly(usual: Sequence[T], odd: Sequence[T]) -> st.SearchStrategy[T]:
    """Draw one of these, occasionally an odd one."""
    return st.integers(0, 19).flatmap(lambda number: st.sampled_from(usual if number < 19 else odd))


def values_of(name: str) -> st.SearchStrategy[str]:
    return mostly(SECRETS, ODD_SECRETS) if name in SECRET_NAMES else mostly(VALUES, ODD_VALUES)


@st.composite
def heads(draw: st.DrawFn, *, framings: Sequence[Lines]) -> list[Lines]:
    """Draw the fields of some heads with common names and mostly repeated values."""
    names = draw(st.lists(mostly((*SECRET_NAMES, *NAMES), ODD_NAMES), max_size=5))
    lines: list[Lines] = [draw(st.sampled_from(framings))] * 4
    for name in names:
        varies = draw(mostly([name in (*SECRET_NAMES, *VARYING)], [True, False]))
        values = [draw(values_of(name)) for _ in range(4)] if varies else [draw(values_of(name))] * 4
        lines = [[*fields, (name, value)] for fields, value in zip(lines, values, strict=True)]
    return lines


framed: Sequence[Lines] = ([], [], [("Content-Length", "17")], [("Transfer-Encoding", "chunked")])
request_heads = heads(framings=framed)
response_heads = heads(framings=(*framed, [("Content-Length", "0")], [("Connection", "Date"), ("Date", "x")]))


def head_of(first: str, lines: Lines) -> bytes:
    fields = "".join([f"{name}: {value}\r\n" for name, value in lines])
    return f"{first}\r\n{fields}\r\n".encode("latin-1")


@st.composite
def exchanges(draw: st.DrawFn) -> list[ServedExchange]:
    """Draw exchanges whose heads share templates, in the order of serving."""
    requests, responses = CachedRequestParser(), CachedResponseParser()
    client = ClientAddress(draw(st.sampled_from(("10.0.0.1", "::1", ""))), "http", trusted=draw(st.booleans()))
    host, status = draw(mostly(HOSTS, ODD_HOSTS)), draw(st.sampled_from(STATUS_LINES))
    verb = draw(st.sampled_from(("GET", "GET", "HEAD", "POST")))
    made: list[ServedExchange] = []
    for fields, response_fields in zip(draw(request_heads), draw(response_heads), strict=True):
        first = f"{verb} {draw(mostly(TARGETS, ODD_TARGETS))} HTTP/1.1"
        head = requests.parse(head_of(first, [("Host", host), *fields]), fields_max=0)
        exchange = ServedExchange(head, valid_request_id(head) or f"{len(made):032x}", 2**32 + 1, 0.0, 30)
        if head.framing is not Framing.NONE:
            exchange.request_body.add(draw(mostly(BODIES, ODD_BODIES)))
        exchange.response = responses.parse(head_of(f"HTTP/1.1 {status}", response_fields), method=verb)
        exchange.response_body.add(draw(mostly(BODIES, ODD_BODIES)))
        exchange.key = draw(mostly(("", "0xab"), [(head.value("x-api-key") or "").lower()]))
        exchange.added = forwarding_block(head, client)
        exchange.trace = f"00-{exchange.id[:32]:0>32}-{1:016x}-01"
        exchange.shadow_mark = head.value("x-shadow-request") or ""
        exchange.first_byte_ns = draw(st.sampled_from((0, 2**32, 2**40 - 1)))
        exchange.ended_ns, exchange.route_name, exchange.stage = 2**40, "score", "candidate_100"
        exchange.side, exchange.skip = draw(st.sampled_from(((Side.LEGACY, None), (Side.CANDIDATE, Skip.WRITE))))
        exchange.overlapped = draw(st.booleans())
        made.append(exchange)
    return made


def encoded(record: Record | RawRecord) -> bytes:
    return zstandard.ZstdDecompressor().decompress(encode_payload([record], compressor=COMPRESSOR))


@settings(max_examples=100)
@given(exchanges())
def test_fast_encoding_equals_the_record(served: list[ServedExchange]) -> None:
    encoder = FastEncoder()
    # Twice, so that templates of one exchange are used for another.
    for exchange in [*served, *served]:
        raw = encoder.encode(exchange)
        assert raw is None or encoded(raw) == encoded(exchange.record())


ORDINARY = [
    [("X-API-Key", "s3cret-{}"), ("Accept", "*/*"), ("User-Agent", "100%")],
    [("authorization", "Bearer s3cret-{}"), ("X-Request-Id", "id-{}"), ("Content-Length", "1{}")],
    [("Cookie", "s={}" + "s" * 240), ("X-My-Token", "{}"), ("Transfer-Encoding", "chunked"), ("Accept", "v" * 255)],
    [("Accept", "a"), ("Accept", "b"), ("Connection", "close"), ("Via", "1.1 x"), ("traceparent", "{}")],
    [(f"X-{number}", "v") for number in range(100)],
    [("Date", "{}")],
]


def served_with(lines: Lines, *, count: int) -> list[ServedExchange]:
    """Return exchanges with these fields in both heads; `{}` is the number of the exchange."""
    requests, responses = CachedRequestParser(), CachedResponseParser()
    made: list[ServedExchange] = []
    for number in range(count):
        fields = [(name, value.replace("{}", str(number))) for name, value in lines]
        head = requests.parse(head_of("GET /v2/stamps HTTP/1.1", [("Host", "a"), *fields]), fields_max=0)
        exchange = ServedExchange(head, f"{number:032x}", 1, 0.0, 100)
        exchange.response = responses.parse(head_of("HTTP/1.1 200 OK", fields), method="GET")
        exchange.response_body.add(b'{"score":"1"}')
        exchange.added = forwarding_block(head, ClientAddress("10.0.0.1", "http", trusted=False))
        made.append(exchange)
    return made


@pytest.mark.parametrize("lines", ORDINARY)
def test_ordinary_exchange_is_encoded_fast_once_its_heads_are_cached(lines: Lines) -> None:
    encoder = FastEncoder()
    served = served_with(lines, count=20)
    raw = [encoder.encode(exchange) for exchange in served]
    assert [item is not None for item in raw] == [False] + [True] * 19
    assert [encoded(item) for item in raw if item] == [encoded(exchange.record()) for exchange in served[1:]]


def test_raw_record_has_the_fields_of_a_record() -> None:
    assert RawRecord.__struct_fields__ == Record.__struct_fields__


def test_raw_record_decodes_as_the_record() -> None:
    exchange = served_with(ORDINARY[0], count=2)[-1]
    raw = FastEncoder().encode(exchange)
    assert raw is not None
    assert decode_payload(encode_payload([raw], compressor=COMPRESSOR)) == (exchange.record(),)
