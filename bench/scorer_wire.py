"""Counts what a scorer says to PostgreSQL: a relay on a unix socket that reads the frontend's messages as they pass.

A round trip is a message after which the client waits: a simple query, or Sync or Flush of the extended protocol. A
statement is a simple query or an Execute.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

_WAITS = frozenset(b"QSH")
_STATEMENTS = frozenset(b"QE")


@dataclass(slots=True)
class Counts:
    """Since the last reset. `statements` keeps the text of simple and prepared statements, for people."""

    round_trips: int = 0
    statements: int = 0
    texts: list[str] = field(default_factory=list[str])

    def reset(self) -> None:
        """Start again."""
        self.round_trips = self.statements = 0
        self.texts.clear()


@asynccontextmanager
async def counting_relay(dsn: str, folder: Path) -> AsyncIterator[tuple[str, Counts]]:
    """Yield a DSN that leads to the same database through the relay, and its counts."""
    parts = urlsplit(dsn)
    target = f"{parse_qs(parts.query)['host'][0]}/.s.PGSQL.5432"
    counts = Counts()
    async with AsyncExitStack() as stack:
        server = await asyncio.start_unix_server(_relaying(target, counts), str(folder / ".s.PGSQL.5432"))
        stack.callback(server.close)
        yield f"postgresql://postgres@{parts.path}?host={folder}", counts


def _relaying(target: str, counts: Counts):
    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_unix_connection(target)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_frontend(reader, upstream_writer, counts), name="frontend")
                group.create_task(_backend(upstream_reader, writer), name="backend")
        except* (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            upstream_writer.close()
            writer.close()

    return relay


async def _frontend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, counts: Counts) -> None:
    """Count messages; the startup message has no type byte, every later message has one."""
    length = await reader.readexactly(4)
    writer.write(length + await reader.readexactly(int.from_bytes(length, "big") - 4))
    while True:
        head = await reader.readexactly(5)
        body = await reader.readexactly(int.from_bytes(head[1:], "big") - 4)
        counts.round_trips += head[0] in _WAITS
        counts.statements += head[0] in _STATEMENTS
        if head[:1] in {b"Q", b"P"}:
            counts.texts.append(body.decode(errors="replace").replace("\0", " ").strip())
        writer.write(head + body)
        await writer.drain()


async def _backend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(65536):
        writer.write(chunk)
        await writer.drain()
    writer.close()
