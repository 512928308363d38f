"""Recordings as the other programs write them."""

import base64
import gzip
import json
import zlib
from pathlib import Path

import pytest
import zstandard

from comparator.exchanges.model import Failed, Response
from proxy.recordings import alb, combined, envoy, gor, har, mitmproxy, recording_file, vegeta
from proxy.recordings.errors import RecordingError
from proxy.recordings.formats import WRITERS
from proxy.recordings.model import Item, MalformedRecord, RecordedExchange, SkippedRecord, split_url
from proxy.recordings.reader import detect, read
from tests.property.proxy.recordings.test_formats import encode

CHUNKED = b"4\r\nWiki\r\n5\r\npedia\r\n0\r\n\r\n"
GOR = (
    b"1 aa 1700000000000000000 0\nPOST /score?x=1 HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n"
    + CHUNKED
    + gor.SEPARATOR
    + b"1 bb 1700000000500000000\nGET /two HTTP/1.1\r\nHost: a.example\r\n\r\n"
    + gor.SEPARATOR
    + b"2 bb 1700000000600000000 -1\nHTTP/1.1 404 Not Found\r\nX: y\r\n\r\nno"
    + gor.SEPARATOR
    + b"2 aa 1700000000700000000 5\nHTTP/1.1 200 OK\r\n\r\nfine"
    + gor.SEPARATOR
    + b"3 aa 1700000000900000000 7\nHTTP/1.1 500 Oops\r\n\r\n"
    + gor.SEPARATOR
)


def only(items) -> RecordedExchange:
    (item,) = items
    assert isinstance(item, RecordedExchange)
    return item


def response(recorded: RecordedExchange) -> Response:
    assert isinstance(recorded.outcome, Response)
    return recorded.outcome


def gor_of(data: bytes) -> list[Item]:
    return list(gor.parse(data.splitlines(keepends=True)))


def test_gor_pairs_responses_out_of_order_and_skips_replays() -> None:
    first, second, replayed = gor_of(GOR)
    assert replayed == SkippedRecord("record 5", "response of a replay", is_http=True)
    assert isinstance(first, RecordedExchange)
    assert isinstance(second, RecordedExchange)
    assert (first.id, first.request.target, first.request.body, response(first).body) == (
        "aa",
        "/score?x=1",
        b"Wikipedia",
        b"fine",
    )
    assert (second.id, response(second).status, second.duration_ns) == ("bb", 404, 100_000_000)


def test_gor_drops_transfer_encoding_of_decoded_chunks() -> None:
    first = gor_of(GOR)[0]
    assert isinstance(first, RecordedExchange)
    assert first.request.headers == (("Host", "a.example"),)


def test_gor_continues_after_a_malformed_record() -> None:
    result = gor_of(b"1 aa\nGET / HTTP/1.1\r\n\r\n" + gor.SEPARATOR + GOR)
    assert [type(one) for one in result] == [MalformedRecord, RecordedExchange, RecordedExchange, SkippedRecord]


def test_browser_har_is_read_with_its_quirks() -> None:
    entry = {
        "startedDateTime": "2026-01-02T03:04:05.678Z",
        "time": 12.5,
        "request": {
            "method": "POST",
            "url": "https://a.example/x?y=1#part",
            "headers": [{"name": ":authority", "value": "b.example"}, {"name": "A", "value": "1"}],
            "postData": {"mimeType": "application/x-www-form-urlencoded", "params": [{"name": "a b", "value": "c&d"}]},
        },
        "response": {
            "status": 200,
            "headers": [["Content-Encoding", "gzip"], ["B", "2"]],
            "content": {"size": 2, "text": base64.b64encode(b"\xff\x00").decode(), "encoding": "base64"},
        },
    }
    result = only(har.parse(b"\xef\xbb\xbf" + json.dumps({"log": {"entries": [entry]}}).encode()))
    assert (result.request.target, result.request.headers) == ("/x?y=1", (("Host", "b.example"), ("A", "1")))
    assert result.request.body == b"a+b=c%26d"
    assert (response(result).headers, response(result).body) == ((("B", "2"),), b"\xff\x00")
    assert (result.started_ns, result.duration_ns) == (1767323045678000000, 12_500_000)


def test_har_status_0_is_a_failure() -> None:
    entry = {
        "startedDateTime": "2026-01-02T03:04:05Z",
        "request": {"method": "GET", "url": "http://a/"},
        "response": {"status": 0, "_error": "net::ERR_FAILED"},
    }
    assert isinstance(only(har.parse(json.dumps({"log": {"entries": [entry]}}).encode())).outcome, Failed)


def test_response_body_missing_from_har_counts_as_truncated() -> None:
    entry = {
        "startedDateTime": "2026-01-02T03:04:05Z",
        "request": {"method": "GET", "url": "http://a/"},
        "response": {"status": 200, "headers": [], "content": {"size": -1, "mimeType": "text/plain"}},
    }
    assert response(only(har.parse(json.dumps({"log": {"entries": [entry]}}).encode()))).body_truncated


def test_compressed_response_is_written_decoded_to_har() -> None:
    sent = Response(200, (("Content-Encoding", "gzip"),), gzip.compress(b'{"a":1}'))
    item = only(gor_of(b"1 a 5\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"))
    data = b"".join(har.dump([RecordedExchange(item.request, sent)]))
    assert json.loads(data)["log"]["entries"][0]["response"]["content"]["text"] == '{"a":1}'
    assert response(only(har.parse(data))) == Response(200, (), b'{"a":1}')


def flow(**changes) -> dict[str, object]:
    request = {
        "method": b"PUT", "path": b"/p", "host": "a.example", "port": 8080, "scheme": b"http", "authority": b"",
        "headers": [[b"A", b"1"]], "content": b"in", "timestamp_start": 1700000000.25, "timestamp_end": 1700000000.5,
    }  # fmt: skip
    answer = {"status_code": 201, "headers": [], "content": b"out", "timestamp_end": 1700000001.25}
    return {"type": "http", "version": 21, "id": "f1", "request": request, "response": answer, "error": None, **changes}


def test_mitmproxy_flow_is_read_as_an_exchange() -> None:
    result = only(mitmproxy.parse(encode(flow())))
    assert result.request.headers == (("Host", "a.example:8080"), ("A", "1"))
    assert (result.request.method, result.request.body, response(result).status) == ("PUT", b"in", 201)
    assert (result.started_ns, result.duration_ns) == (1700000000250000000, 1_000_000_000)


def test_flows_of_other_protocols_and_replays_are_skipped_by_name() -> None:
    flows = [
        flow(type="tcp"),
        flow(type="dns"),
        flow(websocket={"messages": []}),
        flow(is_replay="request"),
        flow(type=""),
        flow(response=None, error={"msg": "gone"}),
    ]
    *skipped, last = mitmproxy.parse(b"".join(map(encode, flows)))
    assert skipped == [
        SkippedRecord("flow 1", "tcp"),
        SkippedRecord("flow 2", "dns"),
        SkippedRecord("flow 3", "websocket"),
        SkippedRecord("flow 4", "replay of a request", is_http=True),
        MalformedRecord("flow 5", "not a flow's state"),
    ]
    assert isinstance(last, RecordedExchange)
    assert isinstance(last.outcome, Failed)


def test_truncated_flow_file_yields_whole_flows_then_fails() -> None:
    items = mitmproxy.parse(encode(flow()) + encode(flow())[:-9])
    assert isinstance(next(items), RecordedExchange)
    with pytest.raises(RecordingError, match="flow 2"):
        next(items)


PSEUDO = [{"key": ":method", "value": "GET"}, {"key": ":path", "value": "/e"}, {"key": ":authority", "value": "a"}]


def test_envoy_traces_need_no_separator() -> None:
    body = {"as_bytes": base64.b64encode(b"cut").decode(), "truncated": True}
    trace = {
        "http_buffered_trace": {
            "request": {"headers": PSEUDO, "body": body},
            "response": {"headers": [{"key": ":status", "value": "503"}]},
        }
    }
    first, second = envoy.parse(json.dumps(trace) + json.dumps(trace, indent=1))
    assert isinstance(first, RecordedExchange)
    assert isinstance(second, RecordedExchange)
    assert (first.request.body, first.request.body_truncated, response(second).status) == (b"cut", True, 503)


def test_envoy_response_without_status_is_malformed() -> None:
    trace = {"http_buffered_trace": {"request": {"headers": PSEUDO}, "response": {"headers": [{"key": "a"}]}}}
    assert [type(one) for one in envoy.parse(json.dumps(trace))] == [MalformedRecord]


def test_envoy_segments_are_joined_by_trace_id_even_when_it_repeats() -> None:
    def segment(**members: object) -> str:
        return json.dumps({"http_streamed_trace_segment": {"trace_id": "7", **members}})

    text = "\n".join(
        [
            segment(request_headers={"headers": PSEUDO}),
            segment(request_body_chunk={"as_string": "a"}),
            segment(request_body_chunk={"as_string": "b"}),
            segment(response_headers={"headers": [{"key": ":status", "value": "200"}]}),
            segment(request_headers={"headers": PSEUDO}),
        ]
    )
    first, second = envoy.parse(text)
    assert isinstance(first, RecordedExchange)
    assert isinstance(second, RecordedExchange)
    assert (first.request.body, response(first).status, second.outcome) == (b"ab", 200, None)


def test_vegeta_http_targets_have_headers_bodies_and_comments() -> None:
    text = b"# all\nGET http://a.example:1/x\nX-A: 1\n\n\nPOST http://b.example/y\n@body.json\n"
    first, second = vegeta.parse_http(text.splitlines(), {"body.json": b"{}"}.__getitem__)
    assert isinstance(first, RecordedExchange)
    assert isinstance(second, RecordedExchange)
    assert first.request.headers == (("Host", "a.example:1"), ("X-A", "1"))
    assert (second.request.method, second.request.body) == ("POST", b"{}")


def test_vegeta_target_with_unknown_member_is_malformed() -> None:
    (result,) = vegeta.parse_json([b'{"method":"GET","url":"http://a/","timeout":1}'])
    assert isinstance(result, MalformedRecord)


ALB = (
    b"https 2026-07-02T22:23:00.186641Z app/lb/50dc6c495c0c9188 192.168.131.39:2817 10.0.0.1:80 0.086 0.048 0.037 200 200 0 57 "
    b'"GET https://www.example.com:443/a?b=c HTTP/1.1" "curl/7.46.0" TLS_AES tls arn "Root=1-58337281-1d84" "www.example.com" '
    b'"arn:cert" 1 2026-07-02T22:22:48.364000Z "forward" "-" "-"\n'
)


def test_alb_line_is_a_request_without_body() -> None:
    result = only(alb.parse([ALB]))
    assert (result.request.target, result.request.headers[0]) == ("/a?b=c", ("Host", "www.example.com"))
    assert (response(result).status, result.duration_ns, result.id) == (200, 171_000_000, "1-58337281-1d84")
    assert result.started_ns == 1783030968364000000


def test_logged_request_with_a_body_counts_as_truncated() -> None:
    assert only(alb.parse([ALB.replace(b'"GET', b'"POST')])).request.body_truncated


COMBINED = b'10.0.0.1 - bob [10/Oct/2026:13:55:36 +0200] "GET /a\\x20b HTTP/1.1" 404 12 "-" "curl \\"x\\"" 0.250\n'


def test_combined_log_line_is_a_request_without_body() -> None:
    line = COMBINED.replace(b"/a\\x20b", b"/a%20b")
    result = only(combined.parse([line], host="api.example"))
    assert result.request.headers == (("Host", "api.example"), ("User-Agent", 'curl "x"'))
    assert (result.request.target, response(result).status, result.duration_ns) == ("/a%20b", 404, 250_000_000)
    assert result.started_ns == 1791633336000000000


def test_common_log_line_is_read() -> None:
    line = b'::1 - - [10/Oct/2026:13:55:36 +0000] "POST /x HTTP/1.0" 200 -'
    assert only(combined.parse([line])).request.body_truncated


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("\\x16\\x03\\x01", "bytes that are not HTTP"),
        ("", "connection without a request"),
        ("-", "connection without a request"),
    ],
)
def test_logged_connection_without_http_is_skipped(line: str, kind: str) -> None:
    result = list(combined.parse([f'::1 - - [10/Oct/2026:13:55:36 +0000] "{line}" 400 0 "-" "-"'.encode()]))
    assert result == [SkippedRecord("line 1", kind)]


def test_line_that_is_not_of_a_log_is_malformed() -> None:
    (result,) = combined.parse([b"Oct 10 systemd[1]: started"])
    assert isinstance(result, MalformedRecord)


@pytest.mark.parametrize(
    ("name", "head", "form"),
    [
        ("a.gor", b"", "gor"),
        ("a", GOR, "gor"),
        ("a.zhar", b"x\x9c", "har"),
        ("a.json", b'{"log": {"version"', "har"),
        ("a.json", b'{"http_buffered_trace":{}}', "envoy"),
        ("a.json", b'{"method":"GET","url":"http://a"}\n', "vegeta-json"),
        ("a.json", b'{"id":"1","request":{}}\n', "ndjson"),
        ("targets", b"GET http://a/\n", "vegeta-http"),
        ("dump", encode(flow()), "mitmproxy"),
        ("log", ALB, "alb"),
        ("access.log", COMBINED, "combined"),
    ],
)
def test_format_is_detected_by_suffix_or_first_bytes(name: str, head: bytes, form: str) -> None:
    assert detect(name, head).name == form


@pytest.mark.parametrize("name", WRITERS)
def test_written_file_is_detected_as_its_format(name: str) -> None:
    recorded = only(combined.parse([COMBINED.replace(b"\\x20", b"%20")]))
    assert detect("recording", b"".join(WRITERS[name]([recorded]))).name == name


@pytest.mark.parametrize("compress", [bytes, gzip.compress, zstandard.compress])
def test_compressed_file_is_read_without_its_suffix(tmp_path: Path, compress) -> None:
    path = tmp_path / "capture"
    path.write_bytes(compress(GOR))
    assert len(list(read(str(path)))) == 3


def test_unknown_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "capture"
    path.write_bytes(b"what is this")
    with pytest.raises(RecordingError, match="--format"):
        list(read(str(path)))


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("http://u:p@a.example/x#f", ("a.example", "/x")),
        ("http://a.example", ("a.example", "/")),
        ("http://a?q=http://b/", ("a", "/?q=http://b/")),
        ("/x?u=http://b/", ("", "/x?u=http://b/")),
    ],
)
def test_url_is_split_without_changing_bytes(url: str, parts: tuple[str, str]) -> None:
    assert split_url(url) == parts


@pytest.mark.parametrize("data", [b'{"log": {"entries": null}}', b'{"log": []}', b"[1]", b"{", b"x\x9cbroken"])
def test_other_json_is_not_a_har(data: bytes) -> None:
    with pytest.raises(RecordingError, match="not a HAR"):
        list(har.parse(data))


def test_timestamp_out_of_range_makes_a_record_malformed() -> None:
    result = [
        *gor_of(b"1 a 9" + b"9" * 30 + b"\nGET / HTTP/1.1\r\n\r\n" + gor.SEPARATOR),
        *mitmproxy.parse(encode(flow(response={"timestamp_end": float("inf")}))),
        *alb.parse([ALB.replace(b"0.086", b"1e999")]),
        *combined.parse([COMBINED.replace(b"\\x20", b"%20").replace(b"0.250", b"9" * 400 + b".0")]),
    ]
    assert [type(one) for one in result] == [MalformedRecord] * 4


@pytest.mark.parametrize("form", ["har", "envoy", "mitmproxy", "ndjson", "gor", "vegeta-http"])
def test_decompression_bomb_is_refused(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording_file, "LINE_MAX_BYTES", 2 * 1024**2)
    monkeypatch.setattr(recording_file, "INFLATED_MAX_BYTES", 2 * 1024**2)
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(bytes(3 * 1024**2)))
    with pytest.raises(RecordingError, match="larger than 2 MiB"):
        list(read(str(path), format_name=form))


def named_body(tmp_path: Path, name: str, *, bodies: Path | None = None) -> Item:
    """Read a target that names a body file; a secret lies outside of the recording's folder."""
    (tmp_path / "secret").write_bytes(b"secret")
    folder = tmp_path / "capture"
    (folder / "below").mkdir(parents=True)
    (folder / "below" / "body").write_bytes(b"own")
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "targets").write_text(f"POST http://a/x\n@{name}\n\n")
    (result,) = read(str(folder / "targets"), format_name="vegeta-http", bodies=bodies)
    return result


def test_body_file_below_the_recordings_folder_is_read(tmp_path: Path) -> None:
    result = named_body(tmp_path, "below/body")
    assert isinstance(result, RecordedExchange)
    assert result.request.body == b"own"


@pytest.mark.parametrize("name", ["../secret", "link", "/etc/passwd", "below/../../secret", "~/../../secret"])
def test_body_file_outside_is_refused(tmp_path: Path, name: str) -> None:
    result = named_body(tmp_path, name)
    assert isinstance(result, MalformedRecord)
    assert (
        result.reason
        == f"@{name}: not in the recording's folder or below it; shadow replay --bodies allows another folder"
    )


def test_body_file_in_an_allowed_folder_is_read(tmp_path: Path) -> None:
    result = named_body(tmp_path, "../secret", bodies=tmp_path)
    assert isinstance(result, RecordedExchange)
    assert result.request.body == b"secret"


def test_body_file_must_be_a_regular_file(tmp_path: Path) -> None:
    result = named_body(tmp_path, "/dev/zero", bodies=Path("/dev"))
    assert isinstance(result, MalformedRecord)
    assert result.reason == "@/dev/zero: not a file"


@pytest.mark.parametrize("piece", ["[],", "{},", '"",', "1,", '{"a":[[]]},'])
@pytest.mark.parametrize("compressed", [False, True])
def test_har_of_too_many_values_is_refused_before_it_fills_the_memory(
    monkeypatch: pytest.MonkeyPatch, piece: str, *, compressed: bool
) -> None:
    monkeypatch.setattr(har, "VALUES_MAX", 1_000)
    text = f'{{"log":{{"entries":[{piece * 1_001}0]}}}}'.encode()
    with pytest.raises(RecordingError, match="more than 1,000 values"):
        list(har.parse(zlib.compress(text) if compressed else text))


def test_values_inside_of_texts_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(har, "VALUES_MAX", 1_000)
    body = json.dumps({"a": ["\\", '"', {}] * 2_000})
    text = json.dumps(
        {"log": {"entries": [{"request": {"url": "http://a/", "method": "POST", "postData": {"text": body}}}]}}
    )
    (read,) = list(har.parse(text.encode()))
    assert isinstance(read, RecordedExchange)
    assert read.request.body == body.encode()
