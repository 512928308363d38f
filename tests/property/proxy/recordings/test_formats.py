"""Exports are read back, as far as the format is lossless; and no input makes a parser fail other than by its named error."""

import io
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from comparator.exchanges.model import Failed, FailureCause, Request, Response, Side
from proxy.recordings import alb, combined, envoy, gor, har, mitmproxy, ndjson, vegeta
from proxy.recordings.errors import RecordingError
from proxy.recordings.model import MalformedRecord, RecordedExchange, SkippedRecord, header_of

wire = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=12)
names = st.from_regex(r"X-[A-Za-z0-9]{1,8}", fullmatch=True)
hosts = st.just((("Host", "api.example"),))
header_lists = st.builds(lambda a, b: a + tuple(b), hosts, st.lists(st.tuples(names, wire), max_size=4))
paths = st.from_regex(r"/[a-z0-9/%._-]{0,20}(\?[a-z0-9=&]{0,10})?", fullmatch=True)
bodies = st.binary(max_size=60) | st.builds(
    lambda a, b: a + gor.SEPARATOR + b, st.binary(max_size=9), st.binary(max_size=9)
)
methods = st.sampled_from(["GET", "POST", "DELETE"])
requests = st.builds(Request, methods, paths, header_lists, bodies)
responses = st.builds(Response, st.integers(200, 599), header_lists, bodies)
times = st.integers(0, 2**60)
captures = st.builds(
    RecordedExchange,
    requests,
    responses,
    id=st.from_regex(r"[0-9a-f]{24}", fullmatch=True),
    started_ns=times,
    duration_ns=st.integers(0, 10**12),
)
anything = st.builds(
    RecordedExchange,
    st.builds(Request, methods, paths, header_lists, bodies, st.booleans()),
    responses | st.none() | st.builds(Failed, st.sampled_from(FailureCause), st.text(max_size=9)),
    id=st.text(max_size=9),
    started_ns=times,
    duration_ns=st.integers(0, 10**12),
    route=st.text(max_size=9),
    key=st.text(max_size=9),
    served_by=st.sampled_from(Side) | st.none(),
    stage=st.text(max_size=9),
    overlapped=st.booleans(),
    skip=st.text(max_size=9),
)


def lines(data: bytes) -> io.BytesIO:
    return io.BytesIO(data)


def unframed(recorded: RecordedExchange) -> tuple[object, ...]:
    """Return records without the headers that only frame a body."""
    response = recorded.outcome
    assert isinstance(response, Response)
    return (recorded.id, recorded.started_ns, recorded.duration_ns, recorded.request, response)


@given(st.lists(anything, max_size=4))
def test_ndjson_is_lossless(written: list[RecordedExchange]) -> None:
    assert list(ndjson.parse(lines(b"".join(map(ndjson.dump, written))))) == written


@given(st.lists(anything, max_size=4))
def test_har_is_lossless_for_uncompressed_exchanges(written: list[RecordedExchange]) -> None:
    assert list(har.parse(b"".join(har.dump(written)))) == written


wires = st.binary(max_size=9).map(lambda raw: raw.decode("latin-1"))


@given(st.lists(anything, max_size=4), wires)
def test_mitmproxy_flow_is_lossless_for_valid_exchanges(written: list[RecordedExchange], value: str) -> None:
    written = [
        replace(item, request=replace(item.request, headers=(*item.request.headers, ("X-W", value))))
        for item in written
    ]
    assert list(mitmproxy.parse(b"".join(map(mitmproxy.dump, written)))) == written


@given(captures, wires)
def test_non_ascii_header_values_are_text_in_documents_and_round_trip(written: RecordedExchange, value: str) -> None:
    written = replace(written, request=replace(written.request, headers=(("Host", "api.example"), ("X-W", value))))
    (from_har,) = har.parse(b"".join(har.dump([written])))
    (from_vegeta,) = vegeta.parse_json(lines(vegeta.dump(written)))
    (from_envoy,) = envoy.parse(envoy.dump(written).decode())
    assert [
        item.request.headers for item in (from_har, from_vegeta, from_envoy) if isinstance(item, RecordedExchange)
    ] == [written.request.headers] * 3


@given(captures)
def test_envoy_trace_holds_messages_and_times_to_the_microsecond(written: RecordedExchange) -> None:
    (read,) = envoy.parse(envoy.dump(written).decode())
    assert isinstance(read, RecordedExchange)
    assert (read.request, read.outcome) == (written.request, written.outcome)
    assert read.started_ns == written.started_ns // 1_000 * 1_000


@given(captures)
def test_combined_line_holds_method_target_status_and_second(written: RecordedExchange) -> None:
    (read,) = combined.parse([combined.dump(written)], host="api.example")
    assert isinstance(read, RecordedExchange)
    assert isinstance(written.outcome, Response)
    assert isinstance(read.outcome, Response)
    assert (read.request.method, read.request.target) == (written.request.method, written.request.target)
    assert (read.outcome.status, read.started_ns) == (written.outcome.status, written.started_ns // 10**9 * 10**9)


@given(st.lists(captures, max_size=4, unique_by=lambda item: item.id))
def test_gor_holds_messages_and_times_even_with_the_separator_in_a_body(
    written: list[RecordedExchange],
) -> None:
    data = b"".join(map(gor.dump, written))
    assert [unframed(item) for item in gor.parse(lines(data)) if isinstance(item, RecordedExchange)] == [
        unframed(item) for item in written
    ]


@given(st.lists(captures, min_size=1, max_size=3, unique_by=lambda item: item.id))
def test_gor_without_its_last_separator_loses_nothing(written: list[RecordedExchange]) -> None:
    data = b"".join(map(gor.dump, written)).removesuffix(gor.SEPARATOR) + b"\n"
    assert len(list(gor.parse(lines(data)))) == len(written)


@given(captures)
def test_vegeta_target_holds_the_request_except_order_of_equal_headers(written: RecordedExchange) -> None:
    (read,) = vegeta.parse_json(lines(vegeta.dump(written)))
    assert isinstance(read, RecordedExchange)
    assert (read.request.method, read.request.target, read.request.body) == (
        written.request.method,
        written.request.target,
        written.request.body,
    )
    assert sorted(read.request.headers) == sorted(written.request.headers)
    assert header_of(read.request.headers, "host") == "api.example"


@given(st.binary(max_size=80))
def test_arbitrary_lines_are_parsed_or_malformed(data: bytes) -> None:
    result = [
        *gor.parse(lines(data)),
        *ndjson.parse(lines(data)),
        *vegeta.parse_json(lines(data)),
        *vegeta.parse_http(lines(data), lambda _: b""),
        *alb.parse(lines(data)),
        *combined.parse(lines(data)),
        *envoy.parse(data.decode("latin-1")),
    ]
    assert all(isinstance(item, RecordedExchange | MalformedRecord | SkippedRecord) for item in result)


json_values = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["log", "entries", "request", "url", "headers", "method", "http_buffered_trace"]), inner
        )
    ),
    max_leaves=9,
)


def whole_file(parse, data: bytes) -> str:
    try:
        return f"{len(list(parse(data)))} records"
    except RecordingError as error:
        return str(error)


@given(st.binary(max_size=80) | json_values.map(lambda value: ndjson.json.dumps(value).encode()))
def test_arbitrary_file_is_parsed_or_refused(data: bytes) -> None:
    assert whole_file(har.parse, data)
    assert whole_file(mitmproxy.parse, data)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.binary(max_size=9)
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def encode(value: object) -> bytes:
    """Write a tnetstring, as mitmproxy does."""
    match value:
        case None:
            kind, raw = b"~", b""
        case bool():
            kind, raw = b"!", b"true" if value else b"false"
        case int():
            kind, raw = b"#", str(value).encode()
        case float():
            kind, raw = b"^", repr(value).encode()
        case bytes():
            kind, raw = b",", value
        case str():
            kind, raw = b";", value.encode()
        case list():
            kind, raw = b"]", b"".join(map(encode, value))
        case dict():
            kind, raw = b"}", b"".join(encode(k) + encode(v) for k, v in value.items())
        case _:
            raise TypeError(value)
    return b"%d:%s%s" % (len(raw), raw, kind)


@given(values)
def test_tnetstring_round_trips(value: object) -> None:
    data = encode(value)
    assert mitmproxy.tnetstring(data) == (value, len(data))
