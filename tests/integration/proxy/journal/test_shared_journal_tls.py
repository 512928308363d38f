"""The shared journal over TLS: certificates of both ends are checked, and the ACL user's password appears nowhere."""

import asyncio
import logging
import ssl
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from bench.chaos.relay import Relay
from proxy.errors import BrokerUnavailableError, SettingsError
from proxy.journal.registry import open_broker
from proxy.journal.shipper import STATUS, Shipper
from tests.support.certificates import certify
from tests.support.redis import RedisServer, ServerTls, running_redis
from tests.support.shared_journal import CountingOffsets, Machine, machines, read_count, reading, shared_settings
from tests.support.waiting import until

PASSWORD = "a-password-of-the-tests"
OTHER_HOST = "127.0.0.2"


@dataclass
class TlsServer:
    """A server that knows the user `shipper`; and the certificates of both ends.

    Attributes:
        has_tls: whether the server speaks TLS itself, at its second port.
        shown: certificate and key of the server.
        client: certificate and key of a client that is accepted.
    """

    server: RedisServer
    has_tls: bool
    shown: tuple[Path, Path]
    client: tuple[Path, Path]

    @property
    def accepted(self) -> dict[str, str]:
        """Settings of a client that is accepted."""
        files = {"ca_file": self.shown[0], "cert_file": self.client[0], "key_file": self.client[1]}
        names = {"user": "shipper", "password": PASSWORD, "prefix": f"shadow:journal:{uuid.uuid4().hex}"}
        return {name: str(path) for name, path in files.items()} | names


# A server behind a terminator, and one that speaks TLS itself.
@pytest.fixture(scope="module", params=["terminator", "server"])
def tls_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsServer]:
    folder = tmp_path_factory.mktemp("certificates")
    shown, client = certify(folder / "server"), certify(folder / "client")
    has_tls = request.param == "server"
    with running_redis(ServerTls(*shown, clients=client[0]) if has_tls else None) as server:
        with redis.Redis.from_url(server.url) as opened:
            opened.acl_setuser(
                "shipper", enabled=True, passwords=[f"+{PASSWORD}"], keys=["shadow:journal:*"], categories=["+@all"]
            )
            opened.acl_setuser("default", enabled=False)
        yield TlsServer(server, has_tls, shown, client)


@pytest.fixture
async def url(tls_server: TlsServer) -> AsyncIterator[str]:
    if tls_server.has_tls:
        yield f"valkeys://127.0.0.1:{tls_server.server.tls_port}/0"
        return
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=tls_server.client[0])
    context.load_cert_chain(*tls_server.shown)
    context.verify_mode = ssl.CERT_REQUIRED
    async with Relay(("127.0.0.1", tls_server.server.port), tls=context) as relay:
        yield f"valkeys://127.0.0.1:{relay.port}/0"


async def test_exchanges_pass_over_tls(tls_server: TlsServer, url: str, tmp_path: Path) -> None:
    async with (
        machines(url, tmp_path, 1, **tls_server.accepted) as (one,),
        reading(one.settings, CountingOffsets()) as reader,
    ):
        one.serve(3)
        assert [entry.exchange.id for entry in await read_count(reader, 3)] == one.served
        await until(lambda: one.committed() == 3)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"ca_file": "other/certificate.pem"}, "CERTIFICATE_VERIFY_FAILED"),
        ({"ca_file": "elsewhere/certificate.pem"}, "CERTIFICATE_VERIFY_FAILED"),
        ({"cert_file": "other/certificate.pem", "key_file": "other/key.pem"}, "alert|closed|reset"),
        ({"cert_file": "", "key_file": ""}, "alert|closed|reset|CERTIFICATE_REQUIRED"),
        ({"password": "wrong"}, "invalid username-password"),
        ({"user": "default"}, "invalid username-password"),
    ],
)
async def test_wrong_certificate_or_user_is_refused(
    tls_server: TlsServer, url: str, tmp_path: Path, change: dict[str, str], problem: str
) -> None:
    certify(tmp_path / "other")
    certify(tmp_path / "elsewhere", address=OTHER_HOST)
    given = {name: str(tmp_path / value) if "/" in value else value for name, value in change.items()}
    settings = shared_settings(url, tmp_path, **{**tls_server.accepted, **given})
    async with open_broker(settings) as refused:
        with pytest.raises(BrokerUnavailableError, match=f"(?i){problem}") as raised:
            await refused.clock_ns()
    assert PASSWORD not in str(raised.value)


async def test_password_is_read_from_its_file_for_each_connection(
    tls_server: TlsServer, url: str, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text("wrong\n")
    given = {**tls_server.accepted, "password": "", "password_file": str(file)}
    async with open_broker(shared_settings(url, tmp_path, **given)) as broker:
        with pytest.raises(BrokerUnavailableError, match=r"(?i)invalid username-password"):
            await broker.clock_ns()
        file.write_text(f"{PASSWORD}\n")
        assert await broker.clock_ns() > 0


async def test_password_file_that_is_gone_is_named(tls_server: TlsServer, url: str, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(PASSWORD)
    given = {**tls_server.accepted, "password": "", "password_file": str(file)}
    async with open_broker(shared_settings(url, tmp_path, **given)) as broker:
        file.unlink()
        with pytest.raises(BrokerUnavailableError, match=r"password_file: .*password: No such file"):
            await broker.clock_ns()


@pytest.mark.parametrize(
    ("content", "problem"), [(b"\n", "empty"), (b"\xff\xfe-a-secret", "not a text"), (b"x" * 5_000, "larger than")]
)
async def test_unusable_password_file_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    file = tmp_path / "password"
    file.write_bytes(content)
    settings = shared_settings("valkey://127.0.0.1:1/0", tmp_path, password_file=str(file))
    with pytest.raises(SettingsError, match=rf"journal\.valkey\.password_file: .*{problem}") as raised:
        async with open_broker(settings):
            pass
    assert "secret" not in str(raised.value)


async def test_certificate_of_another_host_is_refused(tmp_path: Path) -> None:
    certificate, key = certify(tmp_path, address=OTHER_HOST)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    async with Relay(("127.0.0.1", 1), tls=context) as relay:
        url = f"rediss://127.0.0.1:{relay.port}/0"
        async with open_broker(shared_settings(url, tmp_path, ca_file=str(certificate))) as broker:
            with pytest.raises(BrokerUnavailableError, match="IP address mismatch"):
                await broker.clock_ns()


async def test_password_is_in_no_log_and_no_status(
    tls_server: TlsServer, url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    refused = {**tls_server.accepted, "password": f"{PASSWORD}, but wrong"}
    settings = shared_settings(url, tmp_path, **refused)
    machine = Machine(settings)
    machine.open()
    machine.serve()
    machine.writer.close()
    status = Path(settings.directory) / STATUS
    async with open_broker(settings) as opened, asyncio.TaskGroup() as tasks:
        shipping = tasks.create_task(Shipper(settings, opened).run(asyncio.Event()), name="shipper")
        await until(lambda: status.exists() and "invalid username-password" in status.read_text())
        shipping.cancel()
    assert "invalid username-password" in "".join(str(record.__dict__) for record in caplog.records)
    assert PASSWORD not in caplog.text
    assert not any(PASSWORD in str(record.__dict__) for record in caplog.records)
    assert PASSWORD not in status.read_text()
