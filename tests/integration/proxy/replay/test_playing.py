"""Recordings replayed to a real server."""

import asyncio
import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Thread

import jwt
import pytest

from proxy.cli.main import main
from proxy.cli.replay import replay
from proxy.config.journal import JournalSettings
from proxy.config.replay import ReplaySettings
from proxy.config.settings import Settings
from proxy.journal.registry import open_writer
from proxy.replay.errors import OptionError, ResumeStateError, TargetUnavailableError
from proxy.replay.report import render_text
from tests.support.exchanges import exchange
from tests.support.replay_backend import recorded_exchange, replay_arguments, replay_backend, write_recording

PATIENCE_S = 20.0
TOKEN_KEY = "a key of the tests that is long enough"


async def played(*arguments: object, settings: Settings = Settings(), environ: dict[str, str] | None = None):  # noqa: B008
    async with asyncio.timeout(PATIENCE_S):
        return await replay(settings, replay_arguments("--to", "candidate", "--no-progress", *arguments), environ or {})


async def test_every_record_is_sent_once_and_counted(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "c.ndjson", [recorded_exchange(n, key=f"k{n % 7}") for n in range(200)])
    async with replay_backend() as server:
        report = await played(path, "--instance", server.url, "--speed", "max")
    assert sorted(item.path for item in server.received) == sorted(f"/score?n={n}" for n in range(200))
    assert (report.sent, report.finished, report.sides["candidate"].statuses) == (200, True, {"200": 200})
    assert report.sides["candidate"].latency.count == 200


async def test_keys_keep_their_order_and_run_concurrently(tmp_path: Path) -> None:
    path = write_recording(
        tmp_path / "c.ndjson", [recorded_exchange(n, path=f"/k{n % 4}", key=f"k{n % 4}") for n in range(80)]
    )
    async with replay_backend() as server:
        await played(path, "--instance", server.url, "--speed", "max", "--concurrency", "8")
    numbers = [
        [int(a.path.partition("=")[2]) for a in server.received if a.path.startswith(f"/k{k}?")] for k in range(4)
    ]
    assert numbers == [list(range(k, 80, 4)) for k in range(4)]
    assert 1 < server.in_flight_max <= 4


async def test_latency_is_measured_from_the_due_time(tmp_path: Path) -> None:
    path = write_recording(
        tmp_path / "c.ndjson", [recorded_exchange(0, path="/slow", key="a"), recorded_exchange(1, key="a")]
    )
    async with replay_backend() as server, asyncio.TaskGroup() as tasks:
        playing = tasks.create_task(played(path, "--instance", server.url, "--speed", "1x"), name="play")
        await server.reached.wait()
        asyncio.get_running_loop().call_later(0.3, server.released.set)
    side = playing.result().sides["candidate"]
    assert side.latency.quantiles_ms["0.5"] > 250
    assert side.service.quantiles_ms["0.5"] < 250


async def test_requests_have_mark_id_and_target_host(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "c.ndjson", [recorded_exchange(7, method="POST", body=b'{"a":1}')])
    async with replay_backend() as server:
        await played(path, "--instance", f"{server.url}/base", "--strip-path", "/sc")
    (recorded,) = server.received
    assert (recorded.path, recorded.body) == ("/base/ore?n=7", b'{"a":1}')
    assert (recorded.header("x-shadow-request"), recorded.header("x-request-id")) == ("1", "id-7")
    assert recorded.header("host") == server.url.removeprefix("http://")


async def test_host_can_be_preserved_and_mark_omitted(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "c.ndjson", [recorded_exchange(1)])
    async with replay_backend() as server:
        await played(path, "--instance", server.url, "--host", "preserve", "--unmarked")
    assert (server.received[0].header("host"), server.received[0].header("x-shadow-request")) == ("api.example", "")


async def test_filter_and_time_span_select_records(tmp_path: Path) -> None:
    path = write_recording(
        tmp_path / "c.ndjson",
        [recorded_exchange(n, at_ms=n * 1000, method="GET" if n % 2 else "PUT") for n in range(10)],
    )
    async with replay_backend() as server:
        await played(
            path,
            "--instance",
            server.url,
            "--speed",
            "max",
            "--from",
            "+2s",
            "--until",
            "+7s",
            "--filter",
            "method=GET",
        )
    assert sorted(item.path for item in server.received) == ["/score?n=3", "/score?n=5"]


async def test_request_ids_are_unique_over_passes(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "c.ndjson", [recorded_exchange(1)])
    async with replay_backend() as server:
        await played(path, "--instance", server.url, "--speed", "max", "--loop", "3")
    assert sorted(item.header("x-request-id") for item in server.received) == ["id-1", "id-1-1", "id-1-2"]


async def test_truncated_request_is_left_out_and_counted(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "c.ndjson", [recorded_exchange(1, truncated=True), recorded_exchange(2)])
    async with replay_backend() as server:
        report = await played(path, "--instance", server.url, "--speed", "max")
    assert (len(server.received), report.left_out) == (1, {"cut": 1})


async def test_other_statuses_and_failures_are_counted(tmp_path: Path) -> None:
    path = write_recording(
        tmp_path / "c.ndjson",
        [recorded_exchange(0), recorded_exchange(1, path="/status/500"), recorded_exchange(2, path="/slow")],
    )
    async with replay_backend() as server:
        report = await played(path, "--instance", server.url, "--timeout", "0.2")
    side = report.sides["candidate"]
    assert (side.statuses, side.failures, side.status_other) == ({"200": 1, "500": 1}, {"timeout": 1}, 1)


async def test_cut_request_is_sent_as_far_as_it_was_recorded_when_asked_for(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "c.ndjson", [recorded_exchange(1, method="POST", body=b'{"a":', truncated=True)])
    async with replay_backend() as server:
        report = await played(path, "--instance", server.url, "--play-cut")
    assert ([item.body for item in server.received], report.left_out) == ([b'{"a":'], {})
    assert (report.read.text, report.read.cut) == ("read 1: 0 requests, 1 cut", 1)


async def test_requests_without_credentials_are_named_first_and_counted_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = (("X-API-Key", "redacted:" + "b" * 32), ("Authorization", "Bearer [REDACTED]"))
    records = [recorded_exchange(n, path="/status/401", headers=gone) for n in range(3)]
    path = write_recording(tmp_path / "c.ndjson", [*records, recorded_exchange(3)])
    async with replay_backend() as server:
        report = await played(path, "--instance", server.url)
    side = report.sides["candidate"]
    assert (side.statuses, side.without_credentials) == ({"200": 1, "401": 3}, {"401": 3})
    assert (side.status_same, side.status_other) == (1, 0)
    assert "401 x3; sent without credentials: 401 x3" in render_text(report)
    said = capsys.readouterr().err.splitlines()
    assert said[:3] == [
        "3 requests have no credentials, and will probably be refused by the target:",
        "       3  score  header x-api-key",
        "       3  score  header authorization",
    ]
    assert "replay.headers" in said[3]


async def test_header_whose_value_is_gone_is_given_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = ("redacted:" + "b" * 32, "********", "own")
    records = [recorded_exchange(n, headers=(("X-API-Key", value),)) for n, value in enumerate(values)]
    path = write_recording(tmp_path / "c.ndjson", records)
    settings = Settings(replay=ReplaySettings(headers={"X-Api-Key": "API_KEY"}))
    async with replay_backend() as server:
        await played(path, "--instance", server.url, settings=settings, environ={"API_KEY": "given"})
    assert sorted(item.header("x-api-key") for item in server.received) == ["given", "given", "own"]
    assert capsys.readouterr().err == ""


HAR_URLS = ("http://a/1", "data:,x", "blob:http://a/2")


@pytest.mark.parametrize("gone", [False, True], ids=["not-http", "credentials"])
def test_strict_sends_nothing_of_an_incomplete_recording(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], gone: bool
) -> None:
    headers = [{"name": "Cookie", "value": "<redacted>"}] if gone else []
    urls = HAR_URLS[: 1 if gone else None]
    entries = [{"request": {"method": "GET", "url": url, "headers": headers}} for url in urls]
    path = tmp_path / "c.har"
    path.write_text(json.dumps({"log": {"entries": entries}}))
    # The target does not exist: nothing is sent, not even a connection opened.
    arguments = ["replay", str(path), "--to", "legacy", "--instance", "http://127.0.0.1:1", "--strict", "--no-progress"]
    assert main(arguments) == 1
    text = "1 request; 1 request without" if gone else "read 3: 1 request, 2 not HTTP (1 data:, 1 blob:)"
    assert text in capsys.readouterr().err


async def test_strict_plays_a_complete_recording(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "c.ndjson", [recorded_exchange(1)])
    async with replay_backend() as server:
        assert (await played(path, "--instance", server.url, "--strict")).sent == 1


async def test_unreachable_target_is_named_before_anything_is_sent(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "c.ndjson", [recorded_exchange(n) for n in range(3)])
    async with replay_backend() as server:
        url = server.url
    with pytest.raises(BaseExceptionGroup) as raised:
        await played(path, "--instance", url, "--speed", "max")
    assert raised.group_contains(TargetUnavailableError, match=f"cannot connect to {url}: ", depth=None)


async def test_interrupted_replay_reports_and_resumes(tmp_path: Path) -> None:
    path = write_recording(
        tmp_path / "c.ndjson", [recorded_exchange(n, key="k", path="/slow" if n == 3 else "/score") for n in range(8)]
    )
    state = tmp_path / "state.json"
    async with replay_backend() as server:
        async with asyncio.TaskGroup() as tasks:
            arguments = (path, "--instance", server.url, "--speed", "max", "--state", state)
            playing = tasks.create_task(played(*arguments), name="play")
            await server.reached.wait()
            os.kill(os.getpid(), signal.SIGINT)
            asyncio.get_running_loop().call_later(0.3, server.released.set)
        first = playing.result()
        second = await played(*arguments)
    assert (first.finished, first.sent, second.finished, second.sent, second.resumed_at) == (False, 4, True, 4, 4)
    assert [item.path.partition("=")[2] for item in server.received] == [str(n) for n in range(8)]
    assert not state.exists()


async def test_resume_skips_requests_done_out_of_order(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "c.ndjson", [recorded_exchange(n) for n in range(6)])
    state = tmp_path / "state.json"
    async with replay_backend() as server:
        name = f"{path} from - until - to candidate ({server.url})"
        state.write_text(json.dumps({"v": 1, "replay": name, "done": 1, "done_beyond": [2, 4]}))
        report = await played(path, "--instance", server.url, "--speed", "max", "--concurrency", "1", "--state", state)
    assert [item.path.partition("=")[2] for item in server.received] == ["1", "3", "5"]
    assert (report.finished, report.resumed_at, state.exists()) == (True, 1, False)


async def test_empty_selection_is_refused(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "c.ndjson", [recorded_exchange(1)])
    with pytest.raises(OptionError, match="no record is selected"):
        await played(path, "--instance", "http://127.0.0.1:1", "--filter", "key=nobody")


async def test_both_sides_require_concurrency_1(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "c.ndjson", [recorded_exchange(1)])
    with pytest.raises(OptionError, match="requires --concurrency 1"):
        await replay(Settings(), replay_arguments(path, "--to", "both", "--concurrency", 2), {})


async def test_state_of_another_replay_is_refused(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "c.ndjson", [recorded_exchange(1)])
    state = tmp_path / "state.json"
    state.write_text('{"v":1,"replay":"something else","done":3}')
    async with replay_backend() as server:
        with pytest.raises(BaseExceptionGroup) as raised:
            await played(path, "--instance", server.url, "--state", state)
    assert raised.group_contains(ResumeStateError)


async def test_digests_are_replaced_and_tokens_signed_again(tmp_path: Path) -> None:
    known, unknown = "redacted:" + "a" * 32, "redacted:" + "b" * 32
    token = jwt.encode(
        {"sub": "x", "iat": 1_000, "exp": 1_600}, "the old key, long gone by now anyway", algorithm="HS256"
    )
    headers = (("X-API-Key", known), ("Cookie", unknown), ("Authorization", f"Bearer {token}"))
    path = write_recording(
        tmp_path / "c.ndjson",
        [recorded_exchange(1, headers=headers, method="POST", body=f'{{"k":"{known}"}}'.encode())],
    )
    settings = Settings(replay=ReplaySettings(credentials={known: "API_KEY"}, jwt_key="TOKEN_KEY"))
    async with replay_backend() as server:
        report = await played(
            path, "--instance", server.url, settings=settings, environ={"API_KEY": 'a "key"', "TOKEN_KEY": TOKEN_KEY}
        )
    (recorded,) = server.received
    claims = jwt.decode(recorded.header("authorization").partition(" ")[2], TOKEN_KEY, algorithms=["HS256"])
    assert (recorded.header("x-api-key"), json.loads(recorded.body)) == ('a "key"', {"k": 'a "key"'})
    assert (claims["sub"], claims["exp"] - claims["iat"]) == ("x", 600)
    assert report.credentials == {"replaced": 2, "unresolved": 1, "signed": 1}


async def test_sealed_secrets_of_a_journal_are_unsealed(tmp_path: Path) -> None:
    writer = open_writer(JournalSettings(directory=str(tmp_path / "journal")), {})
    writer.start()
    assert writer.append(exchange("sealed", headers=(("X-API-Key", "in clear"),)))
    writer.close()
    async with replay_backend() as server:
        await played(tmp_path / "journal", "--instance", server.url)
        await played(tmp_path / "journal", "--instance", server.url, "--sealed", "leave")
    keys = [item.header("x-api-key") for item in server.received]
    assert keys[0] == "in clear"
    assert keys[1].startswith("redacted:")


async def test_side_without_url_is_refused(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "c.ndjson", [recorded_exchange(1)])
    with pytest.raises(OptionError, match=r"backends\.candidate\.live"):
        await played(path, "--instance", "live")


class Answer(BaseHTTPRequestHandler):
    """A server for the command, which runs an event loop of its own."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(500 if "bad" in self.path else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.mark.parametrize(
    ("path", "code", "output"), [("/good", 0, "200 x3"), ("/bad", 1, "FAILED: error-rate is 1 (0.25 to 1) > 0.1")]
)
def test_command_prints_the_report_and_exits_by_its_rules(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    path: str,
    code: int,
    output: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    capture = write_recording(tmp_path / "c.ndjson", [recorded_exchange(n, path=path) for n in range(3)])
    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        serving = Thread(target=server.serve_forever)
        serving.start()
        arguments = ["replay", str(capture), "--to", "legacy", "--instance", f"http://127.0.0.1:{server.server_port}"]
        arguments += [
            "--json",
            str(tmp_path / "r.json"),
            "--html",
            str(tmp_path / "r.html"),
            "--fail-on",
            "error-rate>0.1",
        ]
        ended = main(arguments)
        server.shutdown()
        serving.join()
    assert ended == code
    assert output in capsys.readouterr().out
    assert "<polyline" in (tmp_path / "r.html").read_text()
    assert json.loads((tmp_path / "r.json").read_bytes())["sides"]["legacy"]["sent"] == 3


def test_named_configuration_must_exist(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capture = write_recording(tmp_path / "c.ndjson", [recorded_exchange(0, path="/good")])
    assert main(["replay", str(capture), "--to", "legacy", "--config", str(tmp_path / "none")]) == 2
    assert "none: No such file" in capsys.readouterr().err


def wrong_source(folder: Path, name: str) -> Path:
    """Return a source of this name that cannot be played, made where it has to exist."""
    path = folder / name
    match path.suffix or name:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case ".har":
            path.write_text('{"log": {"entries": []}}')
        case ".ndjson":
            path.write_text('{"request": 1}\n')
        case ".txt":
            path.write_text("hello\n")
        case ".gor":
            path.touch()
        case _:
            assert name == "missing"
    return path


@pytest.mark.parametrize(
    ("name", "code", "output"),
    [
        ("missing", 2, "missing: No such file or directory"),
        ("folder", 2, "folder is a folder without a journal; name a recording file, or the folder of a journal"),
        ("pipe", 2, "pipe is not a regular file; a pipe is read from the standard input, as -"),
        ("empty.gor", 2, "empty.gor: the file is empty"),
        ("hello.txt", 2, "hello.txt: cannot detect the format; name it with --format, one of gor, envoy, har"),
        ("none.har", 2, "none.har: no request to send: read 0: 0 requests"),
        ("bad.ndjson", 2, "bad.ndjson: no request to send: read 1: 0 requests, 1 malformed"),
    ],
)
def test_source_that_cannot_be_played_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    code: int,
    output: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    source = wrong_source(tmp_path, name)
    assert main(["replay", str(source), "--to", "legacy", "--instance", "http://127.0.0.1:1", "--no-progress"]) == code
    lines = capsys.readouterr().err.splitlines()
    assert output in lines[-1]
    assert len([line for line in lines if line.startswith("shadow replay:")]) == 1


def test_target_that_cannot_be_reached_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    capture = write_recording(tmp_path / "c.ndjson", [recorded_exchange(n, path="/good") for n in range(3)])
    arguments = ["replay", str(capture), "--to", "legacy", "--instance", "http://127.0.0.1:1", "--speed", "max"]
    assert main([*arguments, "--no-progress"]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("shadow replay: cannot connect to http://127.0.0.1:1: ")


def test_counts_of_the_standard_input_are_said_at_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recording = tmp_path / "targets"
    recording.write_text("GET http://a/good\nGET http://a/good\nX\n")
    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server, recording.open() as standard_input:
        monkeypatch.setattr(sys, "stdin", standard_input)
        serving = Thread(target=server.serve_forever)
        serving.start()
        target = f"http://127.0.0.1:{server.server_port}"
        arguments = ["replay", "-", "--format", "vegeta-http", "--to", "legacy", "--instance", target, "--strict"]
        ended = main([*arguments, "--no-progress", "--speed", "max"])
        server.shutdown()
        serving.join()
    output = capsys.readouterr()
    assert ended == 1
    assert "FAILED: --strict: read 2: 1 request, 1 malformed" in output.out
    assert output.err.splitlines()[0] == "read 2: 1 request, 1 malformed"


class Silence(BaseRequestHandler):
    """Closes a connection on its first byte."""

    def handle(self) -> None:
        self.request.recv(1)


def test_target_that_never_responds_is_unavailable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capture = write_recording(tmp_path / "c.ndjson", [recorded_exchange(n, path="/good") for n in range(3)])
    with ThreadingTCPServer(("127.0.0.1", 0), Silence) as server:
        serving = Thread(target=server.serve_forever)
        serving.start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        arguments = ["replay", str(capture), "--to", "legacy", "--instance", url, "--speed", "max", "--no-progress"]
        ended = main(arguments)
        server.shutdown()
        serving.join()
    assert ended == 3
    assert "legacy responded to no request" in capsys.readouterr().err


def test_replay_is_compared_with_an_earlier_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_recording(tmp_path / "c.ndjson", [recorded_exchange(n, path="/good") for n in range(4)])
    earlier = tmp_path / "earlier.json"
    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        serving = Thread(target=server.serve_forever)
        serving.start()
        arguments = ["replay", path, "--to", "legacy", "--instance", f"http://127.0.0.1:{server.server_port}"]
        arguments += ["--speed", "max", "--no-progress"]
        ended = [
            main([*map(str, arguments), *more])
            for more in (
                ["--json", str(earlier)],
                ["--same-as", str(earlier)],
                ["--same-as", str(earlier), "--loop", "2"],
            )
        ]
        server.shutdown()
        serving.join()
    assert ended == [0, 0, 1]
    assert f"FAILED: not the same as {earlier}: sent, sides, routes" in capsys.readouterr().out
