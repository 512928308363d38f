"""The parsers never crash, change nothing, and do not depend on where the bytes are cut."""

from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import MalformedError
from proxy.http1.parser import ChunkDecoder, Framing, parse_request, parse_response

TOKEN = st.text("!#$%&'*+-.^_`|~0123456789AZaz", min_size=1, max_size=12)
VALUE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=20)
TARGET = VALUE.filter(lambda value: "#" not in value).map("/{}".format)
RESERVED = {"host", "content-length", "transfer-encoding", "expect"}
FIELDS = st.lists(st.tuples(TOKEN.filter(lambda name: name.lower() not in RESERVED), VALUE), max_size=6)


@given(TOKEN, TARGET, FIELDS)
def test_well_formed_head_is_parsed_unchanged(method: str, target: str, fields: list[tuple[str, str]]) -> None:
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
    head = parse_request(f"{method} {target} HTTP/1.1\r\nHost: a\r\n{lines}\r\n".encode("latin-1"), fields_max=0)
    assert (head.method, head.target, head.framing) == (method, target, Framing.NONE)
    assert head.fields == [("Host", "a"), *fields]


@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_or_rejected(data: bytes) -> None:
    for parse in (lambda head: parse_request(head, fields_max=5), lambda head: parse_response(head, method="GET")):
        try:
            parse(data + b"\r\n\r\n")
        except MalformedError as error:
            assert error.status in (400, 417, 431, 501, 502, 505)


@given(TARGET, st.binary(max_size=80).filter(lambda data: b"\r\n\r\n" not in data))
def test_no_head_has_a_body_without_stating_it(target: str, noise: bytes) -> None:
    head = f"GET {target} HTTP/1.1\r\nHost: a\r\n".encode("latin-1") + noise + b"\r\n\r\n"
    try:
        parsed = parse_request(head, fields_max=0)
    except MalformedError:
        return
    stated = set(parsed.first_values)
    assert parsed.framing is Framing.NONE or stated & {"content-length", "transfer-encoding"}


def encode(chunks: list[bytes], trailers: list[str]) -> bytes:
    data = b"".join(b"%x;e=1\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks if chunk)
    return data + b"0\r\n" + "".join(f"{line}\r\n" for line in trailers).encode() + b"\r\n"


@given(st.lists(st.binary(max_size=40), max_size=6), st.sampled_from([[], ["X: 1"]]), st.binary(max_size=9), st.data())
def test_chunked_body_does_not_depend_on_the_pieces(
    chunks: list[bytes], trailers: list[str], rest: bytes, data: st.DataObject
) -> None:
    wire = encode(chunks, trailers) + rest
    decoder, body, left, position = ChunkDecoder(), b"", b"", 0
    while position < len(wire) and not decoder.complete:
        size = data.draw(st.integers(1, 8))
        piece, left = decoder.feed(wire[position : position + size])
        body, position = body + piece, position + size
    assert (decoder.complete, body, left + wire[position:]) == (True, b"".join(chunks), rest)


@given(st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=10))
def test_any_bytes_are_decoded_as_chunks_or_rejected(pieces: list[bytes]) -> None:
    decoder, total = ChunkDecoder(), 0
    try:
        for piece in pieces:
            body, _ = decoder.feed(piece)
            total += len(body)
            if decoder.complete:
                break
    except MalformedError as error:
        assert error.status in (400, 431)
    assert total <= sum(map(len, pieces))
