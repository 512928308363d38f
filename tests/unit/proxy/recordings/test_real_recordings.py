"""Recordings made by the real programs; see tests/data/recordings."""

import gzip
from pathlib import Path

import pytest

from comparator.exchanges.model import Failed, Response
from proxy.recordings.formats import WRITERS
from proxy.recordings.model import MalformedRecord, RecordedExchange, SkippedRecord, header_of
from proxy.recordings.reader import read
from tests.support.paths import ROOT
from tests.support.record_recordings import BINARY, LONG, SCORE

CAPTURES = ROOT / "tests" / "data" / "recordings"
FLOWS = ("mitmproxy-9.flow", "mitmproxy-11.flow", "mitmproxy-12.flow")
HARS = ("mitmproxy-11.har", "mitmproxy-12.har")
TAPS = ("envoy-strings.json", "envoy-streamed.json", "envoy-admin.json")

JSON = b'{"address":"0xab","scorer_id":"1"}'
FORM = b"address=0xab&a=b%20c"
FIRST = "/v2/stamps/335/score/0xab?include=stamps&note=human%20points"
SENT = (
    ("GET", FIRST, b""),
    ("POST", "/registry/submit-passport", JSON),
    ("GET", "/gzip", b""),
    ("POST", "/echo", BINARY),
    ("PUT", "/chunked", b"Wikipedia"),
    ("GET", "/missing?q=", b""),
    ("GET", "/broken", b""),
    ("HEAD", "/score", b""),
    ("POST", "/echo", LONG),
    ("GET", '/caf%C3%A9/"quoted"/a%22b?x=1&x=2', b""),
    ("POST", "/echo", FORM),
)
STATUSES = (200, 200, 200, 200, 204, 404, 0, 200, 200, 200, 200)
AGENT = 'recorder/1 "quoted" \\ é'.encode().decode("latin-1")
"""As on the wire: UTF-8, one character for each byte."""


def items(name: str) -> list[RecordedExchange]:
    result = list(read(str(CAPTURES / name)))
    assert not [item for item in result if isinstance(item, MalformedRecord)]
    return [item for item in result if isinstance(item, RecordedExchange)]


def recorded(result: list[RecordedExchange]) -> tuple[tuple[str, str, bytes], ...]:
    return tuple((item.request.method, item.request.target, item.request.body) for item in result)


def status(item: RecordedExchange) -> int:
    return item.outcome.status if isinstance(item.outcome, Response) else 0


def responded(item: RecordedExchange) -> Response:
    assert isinstance(item.outcome, Response)
    return item.outcome


def by_target(result: list[RecordedExchange], target: str) -> RecordedExchange:
    return next(item for item in result if item.request.target == target)


@pytest.mark.parametrize("name", [*FLOWS, *HARS])
def test_mitmproxy_recording_equals_what_was_sent(name: str) -> None:
    result = items(name)
    assert recorded(result) == SENT
    assert tuple(map(status, result)) == STATUSES
    assert [responded(result[number]).body for number in (0, 3, 8, 10)] == [SCORE, BINARY, LONG, FORM]
    assert not [item for item in result if item.request.body_truncated]


@pytest.mark.parametrize("name", [*FLOWS, *HARS])
def test_mitmproxy_headers_are_those_on_the_wire(name: str) -> None:
    first, *_, last = items(name)
    assert first.request.headers[:5] == (
        ("Host", "api.example"),
        ("X-API-Key", "a-key-for-tests"),
        ("X-Twice", "one"),
        ("X-Twice", "two"),
        ("User-Agent", AGENT),
    )
    # HTTP/2 has :authority instead of Host.
    assert last.request.headers[0] == ("Host", "api.example")


@pytest.mark.parametrize("name", FLOWS)
def test_flow_keeps_bodies_compressed(name: str) -> None:
    packed = responded(items(name)[2])
    assert (gzip.decompress(packed.body), header_of(packed.headers, "content-encoding")) == (SCORE, "gzip")


@pytest.mark.parametrize("name", HARS)
def test_har_has_bodies_decompressed(name: str) -> None:
    unpacked = responded(items(name)[2])
    assert (unpacked.body, header_of(unpacked.headers, "content-encoding")) == (SCORE, "")


@pytest.mark.parametrize("name", [*FLOWS, *HARS])
def test_closed_connection_is_a_failure(name: str) -> None:
    outcome = items(name)[6].outcome
    assert isinstance(outcome, Failed)
    assert outcome.detail == "server closed connection"


@pytest.mark.parametrize("name", [*FLOWS, *HARS, "envoy-strings.json", "envoy-admin.json", "chromium.har"])
def test_times_increase_and_durations_are_plausible(name: str) -> None:
    result = items(name)
    assert [item.started_ns for item in result] == sorted(item.started_ns for item in result)
    assert all(0 < item.duration_ns < 10**9 for item in result)


@pytest.mark.parametrize("name", TAPS)
def test_envoy_tap_equals_what_was_sent(name: str) -> None:
    result = items(name)
    assert sorted(item.request.target for item in result) == sorted(target for _, target, _ in SENT)
    assert by_target(result, "/chunked").request.body == b"Wikipedia"
    assert header_of(by_target(result, FIRST).request.headers, "user-agent") == AGENT
    assert responded(by_target(result, FIRST)).body == SCORE
    assert {item.request.headers[0] for item in result} == {("Host", "api.example")}


def test_envoy_bodies_are_exact_up_to_its_limit() -> None:
    result = items("envoy-admin.json")
    assert [item.request.body for item in result] == [body[:1024] for _, _, body in SENT]
    assert [item.request.body_truncated for item in result] == [len(body) > 1024 for _, _, body in SENT]


def test_binary_body_that_envoy_wrote_as_string_counts_as_truncated() -> None:
    result = items("envoy-strings.json")
    assert [item.request.body_truncated for item in result] == [body in (BINARY, LONG) for _, _, body in SENT]
    assert responded(by_target(result, "/gzip")).body_truncated


def test_browser_recording_equals_what_it_sent() -> None:
    result = items("chromium.har")
    bodies = {item.request.body for item in result if not item.request.body_truncated}
    assert {JSON, b"a=b+c&d=%C3%A9", "café".encode()} < bodies
    assert responded(result[1]).body == SCORE
    assert [responded(item).body for item in result[-2:]] == [b"a=b+c&d=%C3%A9", "café".encode()]


def test_binary_body_left_out_by_browser_counts_as_truncated() -> None:
    [lacking] = [item for item in items("chromium.har") if item.request.body_truncated]
    assert (lacking.request.body, responded(lacking).body) == (b"", BINARY)


def test_request_that_failed_in_browser_is_a_failure() -> None:
    outcome = by_target(items("chromium.har"), "/broken").outcome
    assert isinstance(outcome, Failed)
    assert outcome.detail == "net::ERR_EMPTY_RESPONSE"


@pytest.mark.parametrize(
    ("name", "part"), [("nginx.log", 0), ("nginx.log", 1), ("apache.log", 0), ("apache.log", 1), ("apache.log", 2)]
)
def test_server_log_has_requests_without_bodies(name: str, part: int) -> None:
    result = list(read(str(CAPTURES / name), host="api.example"))
    *good, bad = result[part * len(SENT) : (part + 1) * len(SENT)]
    assert isinstance(bad, SkippedRecord)
    requests = [item.request for item in good if isinstance(item, RecordedExchange)]
    assert [(item.method, item.target) for item in requests] == [(method, target) for method, target, _ in SENT[:10]]
    assert [item.body_truncated for item in requests] == [item.method in ("POST", "PUT") for item in requests]


@pytest.mark.parametrize(("name", "timed_at"), [("nginx.log", 11), ("apache.log", 22)])
def test_server_log_has_user_agents_and_configured_durations(name: str, timed_at: int) -> None:
    result = [item for item in read(str(CAPTURES / name)) if not isinstance(item, MalformedRecord)]
    first, timed = result[0], result[timed_at]
    assert isinstance(first, RecordedExchange)
    assert isinstance(timed, RecordedExchange)
    assert header_of(first.request.headers, "user-agent") == AGENT
    assert header_of(first.request.headers, "referer") == "https://app.example/?a=b"
    assert (first.duration_ns, 0 < timed.duration_ns < 10**9) == (0, True)


@pytest.mark.parametrize("name", [*FLOWS, *HARS, *TAPS, "chromium.har"])
@pytest.mark.parametrize("sink", ["ndjson", "mitmproxy"])
def test_real_recording_survives_lossless_formats(tmp_path: Path, name: str, sink: str) -> None:
    path = tmp_path / "again"
    path.write_bytes(b"".join(WRITERS[sink](items(name))))
    assert list(read(str(path))) == items(name)
