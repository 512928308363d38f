"""The shared journal on Valkey or Redis: one stream for each writer. The only module of the proxy that imports redis.

    shadow:journal:stream:w0-3f2a1b2c   entries 32-0, 64-0, 71-0: the names are the numbers of the last exchanges
    shadow:journal:reports              a hash: what the shippers report, by writer
    shadow:journal:committed            a hash: up to which number every reader has committed, by writer

There is no consumer group (it would neither keep the order nor tell of a loss) and no MAXLEN (it deletes unread entries). A stream
is made with its first bundle only; later ones are added with NOMKSTREAM, which fails on a server that was emptied in between: otherwise
the stream would begin with a gap, and exchanges that are in the spool would look lost.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from redis.asyncio import Connection, ConnectionPool, Redis, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.exceptions import AuthenticationError, OutOfMemoryError, RedisError, ResponseError

from proxy.config.journal import ValkeySettings
from proxy.errors import BrokerFullError, BrokerUnavailableError, SettingsError, StreamGoneError
from proxy.journal.broker import Bundle, WriterReport
from proxy.private_file import read_small

FRAME: Final = b"f"
"""The field of an entry that holds the frame."""
PORT: Final = 6379
PASSWORD_MAX_BYTES: Final = 4_096
_REPORT: Final = msgspec.json.Decoder(WriterReport)


class ValkeyBroker:
    """A client of one server, for one event loop. Implements Broker.

    Args:
        settings: section `journal.valkey`.

    Raises:
        SettingsError: a file of the TLS settings, or that of the password, cannot be read.
    """

    def __init__(self, settings: ValkeySettings) -> None:
        self._prefix = settings.prefix
        self._timeout_s = settings.timeout_s
        parts = urlsplit(settings.url)
        with_tls = parts.scheme in ("valkeys", "rediss")
        if with_tls:
            _check_files(settings)
        options: dict[str, Any] = {
            "host": parts.hostname or "127.0.0.1",
            "port": parts.port or PORT,
            "db": int(parts.path.lstrip("/") or 0),
            "protocol": 2,
            "socket_connect_timeout": settings.timeout_s,
            # (each call limits its time; a blocking read takes longer than a command)
            "socket_timeout": None,
            "retry": Retry(NoBackoff(), 0),
        }
        if settings.password_file:
            _read_password(settings)
            options["credential_provider"] = _PasswordFile(settings)
        else:
            options["username"] = settings.user or None
            options["password"] = settings.password or None
        if with_tls:
            options["ssl_ca_certs"] = settings.ca_file or None
            options["ssl_certfile"] = settings.cert_file or None
            options["ssl_keyfile"] = settings.key_file or None
        # The client's own types are incomplete; what comes from it is converted here.
        self._client: Any = Redis.from_pool(
            ConnectionPool(connection_class=SSLConnection if with_tls else Connection, **options)
        )

    async def append(self, writer: str, bundles: Sequence[Bundle], *, begins: bool) -> None:
        """Implement Broker. MULTI, so that a server that runs full in the middle has taken none."""
        key = self._stream(writer)
        async with self._answering(self._timeout_s), self._client.pipeline(transaction=True) as pipeline:
            for index, bundle in enumerate(bundles):
                pipeline.xadd(key, {FRAME: bundle.frame}, id=f"{bundle.last}-0", nomkstream=not begins or index > 0)
            added = await pipeline.execute(raise_on_error=False)
        for error in (one for one in added if isinstance(one, Exception)):
            if not _is_repetition(error):
                raise _translated(error)
        if None in added:
            raise StreamGoneError(f"the broker has no stream of writer {writer}: it was emptied")

    async def read(
        self, after: Mapping[str, int], *, bundles_max: int, wait_s: float
    ) -> Mapping[str, Sequence[Bundle]]:
        """Implement Broker."""
        streams: dict[Any, Any] = {self._stream(writer): f"{number}-0" for writer, number in after.items()}
        async with self._answering(self._timeout_s + wait_s):
            # (a time of 0 would block without end)
            answer = await self._client.xread(streams, count=bundles_max, block=max(1, int(wait_s * 1_000)))
        return {self._writer(key): [_bundle(entry) for entry in entries] for key, entries in answer or ()}

    async def trim(self, writer: str, through: int) -> None:
        """Implement Broker."""
        async with self._answering(self._timeout_s):
            await self._client.xtrim(self._stream(writer), minid=f"{through + 1}-0", approximate=False)

    async def tails(self, writers: Sequence[str]) -> Mapping[str, int]:
        """Implement Broker."""
        if not writers:
            return {}
        async with self._answering(self._timeout_s), self._client.pipeline(transaction=False) as pipeline:
            for writer in writers:
                pipeline.xinfo_stream(self._stream(writer))
            answers = await pipeline.execute(raise_on_error=False)
        tails: dict[str, int] = {}
        for writer, answer in zip(writers, answers, strict=True):
            if not isinstance(answer, Exception):
                tails[writer] = _number(answer["last-generated-id"])
            elif "no such key" not in str(answer):
                raise _translated(answer)
        return tails

    async def report(self, reports: Sequence[WriterReport]) -> None:
        """Implement Broker."""
        if reports:
            texts = {report.writer: msgspec.json.encode(report) for report in reports}
            async with self._answering(self._timeout_s):
                await self._client.hset(f"{self._prefix}:reports", mapping=texts)

    async def reports(self) -> Sequence[WriterReport]:
        """Implement Broker. A report that another version wrote, and this one cannot read, is left out."""
        async with self._answering(self._timeout_s):
            texts = await self._client.hgetall(f"{self._prefix}:reports")
        reports: list[WriterReport] = []
        for text in texts.values():
            with contextlib.suppress(msgspec.MsgspecError):
                reports.append(_REPORT.decode(text))
        return sorted(reports, key=lambda report: report.writer)

    async def acknowledge(self, committed: Mapping[str, int]) -> None:
        """Implement Broker."""
        if committed:
            numbers = dict(committed)
            async with self._answering(self._timeout_s):
                await self._client.hset(f"{self._prefix}:committed", mapping=numbers)

    async def acknowledged(self) -> Mapping[str, int]:
        """Implement Broker."""
        async with self._answering(self._timeout_s):
            numbers = await self._client.hgetall(f"{self._prefix}:committed")
        return {writer.decode(): int(number) for writer, number in numbers.items()}

    async def clock_ns(self) -> int:
        """Implement Broker."""
        async with self._answering(self._timeout_s):
            seconds, microseconds = await self._client.time()
        return (int(seconds) * 1_000_000 + int(microseconds)) * 1_000

    async def warnings(self) -> Sequence[str]:
        """Implement Broker."""
        async with self._answering(self._timeout_s):
            memory = await self._client.info("memory")
        policy = memory.get("maxmemory_policy", "noeviction")
        if policy.startswith("allkeys"):
            return [f"the broker deletes streams when it is full (maxmemory-policy {policy}): set noeviction"]
        return []

    async def forget(self, writer: str) -> None:
        """Implement Broker."""
        async with self._answering(self._timeout_s), self._client.pipeline(transaction=True) as pipeline:
            pipeline.hdel(f"{self._prefix}:reports", writer)
            pipeline.hdel(f"{self._prefix}:committed", writer)
            pipeline.delete(self._stream(writer))
            await pipeline.execute()

    async def close(self) -> None:
        """Implement Broker."""
        with contextlib.suppress(RedisError, OSError):
            await self._client.aclose(close_connection_pool=True)

    def _stream(self, writer: str) -> str:
        return f"{self._prefix}:stream:{writer}"

    def _writer(self, key: bytes) -> str:
        return key.decode().removeprefix(self._stream(""))

    @asynccontextmanager
    async def _answering(self, seconds: float) -> AsyncGenerator[None, None]:
        """Limit the time, and translate the client's errors."""
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError as error:
            raise BrokerUnavailableError(f"no answer within {seconds:g} s") from error
        except (RedisError, OSError, UnicodeError) as error:
            raise _translated(error) from error


class _PasswordFile(CredentialProvider):
    """Reads the password for each connection, so that one that is changed in the file needs no restart."""

    def __init__(self, settings: ValkeySettings) -> None:
        self._settings = settings

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        try:
            password = _read_password(self._settings)
        except SettingsError as error:
            raise AuthenticationError(str(error)) from error
        return (self._settings.user, password) if self._settings.user else (password,)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        return self.get_credentials()


def _is_repetition(error: Exception) -> bool:
    """Return whether a bundle was refused because it is there: its name is not larger than the last one's."""
    return isinstance(error, ResponseError) and "equal or smaller than the target stream top item" in str(error)


def _translated(error: Exception) -> BrokerUnavailableError:
    text = f"{type(error).__name__}: {error}"
    full = isinstance(error, OutOfMemoryError) or "OOM command not allowed" in str(error)
    return BrokerFullError(text) if full else BrokerUnavailableError(text)


def _bundle(entry: Any) -> Bundle:
    name, fields = entry
    return Bundle(_number(name), fields[FRAME])


def _number(name: bytes) -> int:
    """Return the number in the name of an entry: b"71-0" is 71."""
    return int(name.partition(b"-")[0])


def _read_password(settings: ValkeySettings) -> str:
    """Return the password in `password_file`.

    Raises:
        SettingsError: the file cannot be read, is empty, or is not text. The message does not contain the password.
    """
    place = f"journal.valkey.password_file: {settings.password_file}"
    try:
        password = read_small(Path(settings.password_file), PASSWORD_MAX_BYTES).decode().rstrip("\r\n")
    except OSError as error:
        raise SettingsError(f"{place}: {error.strerror}") from error
    except ValueError:
        # (from None: the error has the bytes)
        raise SettingsError(f"{place}: not a text in UTF-8") from None
    if not password:
        raise SettingsError(f"{place}: the file is empty")
    return password


def _check_files(settings: ValkeySettings) -> None:
    """Raise SettingsError where a file of the TLS settings cannot be used."""
    try:
        context = ssl.create_default_context(cafile=settings.ca_file or None)
    except OSError as error:
        raise SettingsError(f"journal.valkey.ca_file: {settings.ca_file}: {error}") from error
    try:
        if settings.cert_file:
            context.load_cert_chain(settings.cert_file, settings.key_file)
    except OSError as error:
        raise SettingsError(f"journal.valkey.cert_file: {settings.cert_file}: {error}") from error
