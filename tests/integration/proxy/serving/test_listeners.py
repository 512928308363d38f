"""TLS to clients and backends, and unix sockets."""

import asyncio
import socket
import ssl
from pathlib import Path

import pytest

from comparator.exchanges.model import Side
from proxy.cli.main import main
from proxy.serving.app import running
from tests.support.certificates import certify
from tests.support.proxy_lab import ScriptedBackend, proxy_lab, read_message, settings_for

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def test_clients_can_be_served_over_tls(tmp_path: Path) -> None:
    certificate, key = certify(tmp_path)
    listen = {"port": 0, "tls": {"certificate": str(certificate), "key": str(key)}}
    async with proxy_lab(tmp_path, listen=listen) as it:
        context = ssl.create_default_context(cafile=certificate)
        reader, writer = await asyncio.open_connection("127.0.0.1", it.proxy.port, ssl=context)
        writer.write(GET)
        assert (await read_message(reader)).body == b"ok"
        assert it.candidate.seen[0].get("x-forwarded-proto") == "https"
        writer.close()


async def test_backends_can_be_reached_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = certify(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    backend = ScriptedBackend()
    async with await asyncio.start_server(backend.converse, "127.0.0.1", 0, ssl=context) as server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with proxy_lab(tmp_path, backends={"candidate": {"live": {"url": url}}}) as it:
            client = await it.client()
            bodies = [(await client.ask(GET)).body for _ in range(3)]
            assert (bodies, backend.connections) == ([b"ok"] * 3, 1)


async def test_backend_with_an_unknown_certificate_is_not_trusted(tmp_path: Path) -> None:
    certificate, key = certify(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    backend = ScriptedBackend()
    async with await asyncio.start_server(backend.converse, "127.0.0.1", 0, ssl=context) as server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with proxy_lab(tmp_path, backends={"candidate": {"live": {"url": url}}}) as it:
            assert (await it.ask(GET)).status == 502
            assert backend.seen == []


async def test_clients_can_be_served_over_a_unix_socket(tmp_path: Path) -> None:
    backend = ScriptedBackend()
    path = str(tmp_path / "proxy.sock")
    async with await asyncio.start_server(backend.converse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with running(settings_for(tmp_path, port, port, {"listen": {"unix": path}}), environ={}):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(GET)
            assert (await read_message(reader)).body == b"ok"
            writer.close()


async def test_backend_can_be_reached_and_checked_over_a_unix_socket(tmp_path: Path) -> None:
    backend, path = ScriptedBackend(), str(tmp_path / "backend.sock")
    async with await asyncio.start_unix_server(backend.converse, path):
        live = {
            "url": "http://service.example/base",
            "socket": path,
            "host": "backend",
            "health_check": {"path": "/health", "interval_s": 0.02},
        }
        async with proxy_lab(tmp_path, backends={"candidate": {"live": live}}) as it:
            assert (await it.ask(GET)).body == b"ok"
            await it.until(lambda: it.proxy.state.metrics.checks[Side.CANDIDATE, True] > 0)
            received = {(seen.line, seen.get("host")) for seen in backend.seen}
            assert ("GET /base/ HTTP/1.1", "service.example") in received
            assert ("GET /base/health HTTP/1.1", "service.example") in received


def config(tmp_path: Path, port: int) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(
        f"listen: {{port: {port}}}\nadmin: {{port: 0}}\njournal: {{directory: {tmp_path}/journal}}\n"
        f"serve: {{state_file: {tmp_path}/switch, sentinel_file: {tmp_path}/stop}}\n"
    )
    return path


def test_port_in_use_is_a_one_line_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        path = config(tmp_path, taken.getsockname()[1])
        assert main(["proxy", "--config", str(path)]) == 2
    assert "shadow proxy: cannot listen" in capsys.readouterr().err.splitlines()[-1]


def test_malformed_journal_key_is_a_one_line_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHADOW_JOURNAL_KEY", "short")
    assert main(["proxy", "--config", str(config(tmp_path, 0))]) == 2
    assert "SHADOW_JOURNAL_KEY is too short: 5 bytes" in capsys.readouterr().err.splitlines()[-1]


def test_configuration_can_be_checked_without_serving(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["proxy", "--check", "--config", str(config(tmp_path, 0))]) == 0
    assert capsys.readouterr().out.splitlines()[0].endswith("is valid")
    config(tmp_path, 0).write_text("listen: {prot: 1}")
    assert main(["proxy", "--check", "--config", str(tmp_path / "config.yaml")]) == 2
    assert "prot" in capsys.readouterr().err
