"""Every shape of recording is read entry for entry, and what is not a whole request is named or refused in words."""

import base64
from pathlib import Path

import pytest

from comparator.exchanges.model import Response
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


def test_kinds_are_bounded() -> None:
    counts = ReadCounts()
    for number in range(1_000):
        counts.add(SkippedRecord("", f"s{number}:"))
    assert (len(counts.not_http), counts.not_http[OTHER_KINDS]) == (KINDS_MAX + 1, 1_000 - KINDS_MAX)
    assert counts.total == 1_000
