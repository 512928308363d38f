"""Every shape of recording is read entry for entry, and what is not a whole request is named or refused in words."""

import base64
import json
from pathlib import Path

import pytest

from comparator.exchanges.model import Response
from proxy.recordings import gor, vegeta
from proxy.recordings.counts import KINDS_MAX, OTHER_KINDS, ReadCounts
from proxy.recordings.errors import RecordingError
from proxy.recordings.model import Item, MalformedRecord, RecordedExchange, SkippedRecord, header_of
from proxy.recordings.reader import read
from tests.unit.proxy.recordings.recording_shapes import ALL_SHAPES, Shape, entry, har

FORMATS = {".http": "vegeta-http", ".json": "vegeta-json"}


def summary(item: Item) -> str:
    match item:
        case SkippedRecord():
            return f"skip {item.kind}"
        case MalformedRecord():
            return "malformed"
        case RecordedExchange(request=request, outcome=outcome):
            status = "-" if outcome is None else "failed"
            if isinstance(outcome, Response):
                status = f"{outcome.status}{'...' if outcome.body_truncated else ''}"
            body = "cut" if request.body_truncated else request.body.decode("utf-8", "surrogateescape")
            return " ".join(filter(None, (request.method, request.target, status, body)))


def written(folder: Path, shape: Shape) -> Path:
    name, data, _ = shape
    (folder / "body.json").write_bytes(b"{}")
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("shape", ALL_SHAPES, ids=lambda shape: shape[0])
def test_recording_is_read_entry_for_entry_or_refused_in_words(tmp_path: Path, shape: Shape) -> None:
    path, (_, _, expected) = written(tmp_path, shape), shape
    try:
        result = tuple(map(summary, read(str(path), format_name=FORMATS.get(path.suffix))))
    except RecordingError as error:
        result = ("refused", str(error))
    if expected[:1] == ("refused",):
        assert result[0] == "refused"
        assert expected[1] in result[1]
        assert "\n" not in result[1]
    else:
        assert result == expected


@pytest.mark.parametrize("shape", ALL_SHAPES, ids=lambda shape: shape[0])
def test_every_record_is_counted_once(tmp_path: Path, shape: Shape) -> None:
    path, (_, _, expected) = written(tmp_path, shape), shape
    counts = ReadCounts()
    try:
        for item in read(str(path), format_name=FORMATS.get(path.suffix)):
            counts.add(item)
    except RecordingError:
        assert expected[0] == "refused"
        return
    assert counts.total == len(expected)
    assert counts.malformed == expected.count("malformed")
    assert counts.cut == sum(text.endswith(" cut") for text in expected)
    assert counts.cut_responses <= sum("..." in text for text in expected)
    assert counts.complete == (counts.requests == len(expected))


def test_hosts_and_credentials_of_urls_are_those_that_are_sent(tmp_path: Path) -> None:
    path = tmp_path / "a.har"
    path.write_bytes(har(entry("https://bücher.example:8443/"), entry("http://u:p@[::1]:80/")))
    targets = tmp_path / "targets.http"
    targets.write_text("GET http://user:pass%3Aword@a.example/\n")
    items = [item for item in [*read(str(path)), *read(str(targets))] if isinstance(item, RecordedExchange)]
    assert [header_of(item.request.headers, "host") for item in items] == [
        "xn--bcher-kva.example:8443",
        "[::1]:80",
        "a.example",
    ]
    credentials = header_of(items[-1].request.headers, "authorization").removeprefix("Basic ")
    assert base64.b64decode(credentials) == b"user:pass:word"


def test_counts_are_one_line_of_words() -> None:
    counts = ReadCounts()
    for item in (
        *[SkippedRecord("", "data:")] * 4,
        *[SkippedRecord("", "websocket")] * 3,
        SkippedRecord("", "response of a replay", is_http=True),
        *[MalformedRecord(f"line {number}", "wrong") for number in range(7)],
    ):
        counts.add(item)
    assert str(counts) == (
        "read 15: 0 requests, 7 not HTTP (4 data:, 3 websocket), 1 skipped (1 response of a replay), 7 malformed"
    )
    assert counts.lines()[1:] == [*(f"  line {number}: wrong" for number in range(5)), "  and 2 more"]


def test_text_of_a_recording_is_shown_in_one_short_line_without_controls() -> None:
    counts = ReadCounts()
    counts.add(MalformedRecord("line 1", "\x1b[2J\x9b\n" + "x" * 500))
    counts.add(SkippedRecord("", "t\x1b]0;cp"))
    first, second = counts.lines()
    assert first == "read 2: 0 requests, 1 not HTTP (1 t\\x1b]0;cp), 1 malformed"
    assert second.startswith("  line 1: \\x1b[2J\\x9b x")
    assert len(second) < 250


def line(**changes: object) -> str:
    """Return a line of our own format, with other members."""
    request = {"method": "GET", "target": "/", "headers": []}
    document = {"request": request, "started_ns": 1} | changes
    return json.dumps(document)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"started_ns": 10**400}, "timestamp out of range"),
        ({"started_ns": -1}, "timestamp out of range"),
        ({"duration_ns": 2**63}, "timestamp out of range"),
        ({"request": {"method": "GET", "target": "/漢"}}, "characters that are not bytes"),
        ({"request": {"method": "GET", "target": "/", "headers": [["A", "€"]]}}, "characters that are not bytes"),
        ({"request": {"method": "GET", "target": "/", "headers": [["A: b\r\nC", "d"]]}}, "is not the name of a header"),
        ({"request": {"method": "GET /\r\nX: y", "target": "/"}}, "is not a method"),
        ({"request": {"method": "GET", "target": "example/"}}, "is neither a path nor an http(s) URL"),
    ],
)
def test_request_that_could_not_be_sent_as_recorded_is_malformed(
    tmp_path: Path, changes: dict[str, object], reason: str
) -> None:
    path = tmp_path / "a.ndjson"
    path.write_text(f"{line()}\n{line(**changes)}\n")
    good, bad = read(str(path))
    assert isinstance(good, RecordedExchange)
    assert isinstance(bad, MalformedRecord)
    assert reason in bad.reason


def test_gor_record_without_an_end_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gor, "RECORD_MAX_BYTES", 4 * 1024**2)
    path = tmp_path / "a.gor"
    path.write_bytes(b"1 a 1 0\n" + b"x" * 1023 * 8 + b"\n" * 5 * 1024**2)
    with pytest.raises(RecordingError, match="a record is larger than 4 MiB"):
        list(read(str(path)))


def test_vegeta_target_without_an_end_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "targets"
    path.write_text("GET http://a/\n" + "X: y\n" * 5_000)
    first, *rest = read(str(path))
    assert isinstance(first, RecordedExchange)
    assert len(first.request.headers) <= vegeta.LINES_MAX + 1
    assert [type(item) for item in rest] == [MalformedRecord] * len(rest)
    assert len(rest) == 4


def test_kinds_are_bounded() -> None:
    counts = ReadCounts()
    for number in range(1_000):
        counts.add(SkippedRecord("", f"s{number}:"))
    assert (len(counts.not_http), counts.not_http[OTHER_KINDS]) == (KINDS_MAX + 1, 1_000 - KINDS_MAX)
    assert counts.total == 1_000


LINE_BREAKS = {
    "target": har(entry("http://a/x\r\nX: y")),
    "target with a NUL": har(entry("http://a/\0")),
    "header": har(entry("http://a/", request_headers=[{"name": "X", "value": "a\r\nY: b"}])),
    "host": har(entry("http://a/", request_headers=[{"name": "Host", "value": "a\nY: b"}])),
    "header of a target": b'{"method": "GET", "url": "http://a/", "header": {"X": ["a\\r\\nY: b"]}}\n',
}


@pytest.mark.parametrize("data", LINE_BREAKS.values(), ids=LINE_BREAKS)
def test_request_with_a_line_break_is_malformed(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "recording"
    path.write_bytes(data)
    (item,) = read(str(path))
    assert isinstance(item, MalformedRecord)
    assert "line break" in item.reason
