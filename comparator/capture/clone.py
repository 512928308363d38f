"""Makes the shadow database from live.

By template where both are on one server, live is small and nobody is connected to it (a template copy shuts new
connections out while it runs, so it is never done to a live database in use); else by pg_dump and pg_restore.
With a slot's name, a persistent slot is made first and the dump reads exactly the state at the slot's start: a reader that
starts from the slot then misses nothing and sees nothing twice.
Afterwards sequences are moved out of the way, so that ids born in the shadow never meet ids that come from live, and what
live's own replication left in the copy (publications, the change log; subscriptions are never copied) is dropped.
"""

import asyncio
import contextlib
import logging
import os
import shutil
import tempfile
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import asyncpg

from comparator.capture import trigger_log as changelog
from comparator.capture.errors import CaptureError, CloneError
from comparator.capture.fitness import APPLICATION, connect
from comparator.capture.reconnecting import SESSION
from comparator.capture.replication import ReplicationConnection, environment
from comparator.capture.settings import CaptureSettings
from comparator.capture.table_shape import quote

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 10.0
STATEMENT_TIMEOUT_S = 600.0
SHADOW_START = 2**40
"""Where a bigint sequence of the shadow goes on: far above live's ids, and exact in JSON (below 2^53)."""


class CloneMethod(StrEnum):
    """How the copy is made; `auto` takes the template where it disturbs nobody."""

    AUTO = "auto"
    TEMPLATE = "template"
    DUMP = "dump"


@dataclass(frozen=True, slots=True)
class CloneOptions:
    """How to clone.

    Attributes:
        method: auto, template or dump.
        replace: drop the shadow database if it exists.
        programs: folder of pg_dump and pg_restore; those on PATH when None.
        slot: name of a persistent slot of live to make, from which a reader goes on; "" for none.
        maintenance: database to connect to for creating the shadow.
        template_max_bytes: above this size `auto` dumps.
        timeout_s: for the whole dump, and for the whole restore.
    """

    method: CloneMethod = CloneMethod.AUTO
    replace: bool = False
    programs: Path | None = None
    slot: str = ""
    maintenance: str = "postgres"
    template_max_bytes: int = 256_000_000
    timeout_s: float = 3_600.0


@dataclass(frozen=True, slots=True)
class CloneResult:
    """What was done: `lsn` is where the slot starts (0 without one), `sequences` how many were moved."""

    method: CloneMethod
    lsn: int
    sequences: int


@dataclass(frozen=True, slots=True)
class ShadowSequence:
    """A sequence of the shadow. `last` is None when it was never used; `maximum` also heeds the column it feeds."""

    name: str
    maximum: int
    last: int | None


@dataclass(frozen=True, slots=True)
class _DatabaseLocation:
    """A database as its server knows it."""

    server: int
    name: str
    bytes: int
    connections: int


async def clone(live_dsn: str, shadow_dsn: str, options: CloneOptions) -> CloneResult:
    """Create the database of `shadow_dsn` from that of `live_dsn`.

    Raises:
        CloneError: the shadow exists already, is live itself, or a program failed.
    """
    live = await _locate(live_dsn)
    target = environment(shadow_dsn).get("PGDATABASE", "")
    conn = await _connect(shadow_dsn, database=options.maintenance)
    try:
        same_server = await conn.fetchval(SERVER) == live.server
        if same_server and target == live.name:
            raise CloneError("the shadow would be live itself")
        method = _method(live, same_server=same_server, options=options)
        await _ensure_absent(conn, target, replace=options.replace)
        lsn = 0
        if method is CloneMethod.TEMPLATE:
            await _copy_template(conn, live.name, target)
        else:
            await _execute(conn, f"CREATE DATABASE {quote(target)} TEMPLATE template0")
            lsn = await _dump_and_restore(live_dsn, shadow_dsn, options, keep_owners=same_server)
    finally:
        await conn.close()
    return CloneResult(method, lsn, await _prepare_copy(shadow_dsn))


def _method(live: _DatabaseLocation, *, same_server: bool, options: CloneOptions) -> CloneMethod:
    """Which way to copy; a slot's snapshot can only be dumped."""
    if options.method is CloneMethod.TEMPLATE and (not same_server or options.slot):
        raise CloneError("a template copy needs one server for both and no slot")
    if options.method is CloneMethod.TEMPLATE and live.connections:
        raise CloneError("somebody is connected to live: clone with --method dump")
    if options.method is not CloneMethod.AUTO:
        return options.method
    undisturbed = live.connections == 0 and live.bytes <= options.template_max_bytes
    return CloneMethod.TEMPLATE if same_server and undisturbed and not options.slot else CloneMethod.DUMP


def shadow_start(sequence: ShadowSequence) -> int:
    """Where the shadow's sequence goes on: 2^40, or three quarters of the way where its numbers end before.

    Live's own last number is always left well below.
    """
    last = sequence.last or 0
    target = SHADOW_START if sequence.maximum > 2 * SHADOW_START else sequence.maximum - sequence.maximum // 4
    return target if last < target else last + (sequence.maximum - last) // 2


SERVER = "SELECT system_identifier FROM pg_control_system()"

LOCATION = """
SELECT (SELECT system_identifier FROM pg_control_system()) AS server, current_database()::text AS name,
       pg_database_size(current_database()) AS bytes,
       (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
            AND backend_type IN ('client backend', 'walsender')) AS connections
"""


async def _locate(dsn: str) -> _DatabaseLocation:
    conn = await _connect(dsn)
    try:
        row = await conn.fetchrow(LOCATION, timeout=STATEMENT_TIMEOUT_S)
    finally:
        await conn.close()
    if row is None:
        raise CloneError("the server says nothing about itself")
    return _DatabaseLocation(row["server"], row["name"], row["bytes"], row["connections"])


EXISTS = "SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = $1)"


async def _ensure_absent(conn: asyncpg.Connection, database: str, *, replace: bool) -> None:
    if not await conn.fetchval(EXISTS, database, timeout=STATEMENT_TIMEOUT_S):
        return
    if not replace:
        raise CloneError(f"the database {database} exists; give --replace to drop it first")
    await _execute(conn, f"DROP DATABASE {quote(database)} WITH (FORCE)")


async def _copy_template(conn: asyncpg.Connection, live: str, target: str) -> None:
    try:
        await conn.execute(f"CREATE DATABASE {quote(target)} TEMPLATE {quote(live)}", timeout=STATEMENT_TIMEOUT_S)
    except asyncpg.ObjectInUseError as error:
        raise CloneError("somebody is connected to live: clone with --method dump") from error
    except asyncpg.PostgresError as error:
        raise CloneError(f"the template copy failed: {error}") from error


async def _dump_and_restore(live_dsn: str, shadow_dsn: str, options: CloneOptions, *, keep_owners: bool) -> int:
    """Dump live into a file and restore it; return the LSN of the slot, 0 without one."""
    with tempfile.TemporaryDirectory(prefix="shadow-clone-") as folder:
        dump = str(Path(folder) / "live.dump")
        async with _snapshot(live_dsn, options.slot) as (snapshot, lsn):
            words = ["--format=custom", "--compress=0", "--no-publications", "--no-subscriptions", f"--file={dump}"]
            words += [f"--snapshot={snapshot}"] if snapshot else []
            await _run_program("pg_dump", words, dsn=live_dsn, options=options)
        words = ["--exit-on-error", f"--dbname={environment(shadow_dsn).get('PGDATABASE', '')}"]
        words += [] if keep_owners else ["--no-owner", "--no-privileges"]
        await _run_program("pg_restore", [*words, dump], dsn=shadow_dsn, options=options)
    return lsn


@asynccontextmanager
async def _snapshot(dsn: str, slot: str) -> AsyncGenerator[tuple[str, int]]:
    """Make the persistent slot and hold the snapshot of its start for the block; nothing of both without a name."""
    if not slot:
        yield "", 0
        return
    wire = await ReplicationConnection.connect(
        dsn, session=SESSION, application=APPLICATION, timeout_s=CONNECT_TIMEOUT_S
    )
    try:
        made = await wire.create_slot(slot, timeout_s=STATEMENT_TIMEOUT_S)
        try:
            yield made
        except BaseException:
            with contextlib.suppress(CaptureError, TimeoutError):
                await wire.drop_slot(slot, timeout_s=CONNECT_TIMEOUT_S)
            raise
    finally:
        await wire.aclose()


async def _run_program(name: str, words: list[str], *, dsn: str, options: CloneOptions) -> None:
    """Run a PostgreSQL program; the password goes by the environment, where other users cannot read it."""
    folder = str(options.programs) if options.programs else None
    path = shutil.which(name, path=folder)
    if path is None:
        raise CloneError(f"{name} was not found {'in ' + folder if folder else 'on PATH'}")
    process = await asyncio.create_subprocess_exec(
        path,
        "--no-password",
        *words,
        env=_environment(environment(dsn)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(options.timeout_s):
            _, said = await process.communicate()
    except TimeoutError as error:
        raise CloneError(f"{name} took longer than {options.timeout_s:g} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise CloneError(f"{name} failed: {said.decode(errors='replace').strip()[-2000:]}")


def _environment(connection: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {**kept, **connection}


PUBLICATIONS = "SELECT pubname::text FROM pg_publication ORDER BY 1"

SEQUENCES = """
SELECT s.seqrelid::regclass::text AS name, pg_sequence_last_value(s.seqrelid) AS last,
       least(s.seqmax, min(CASE a.atttypid WHEN 'int2'::regtype THEN 32767 WHEN 'int4'::regtype THEN 2147483647 END))
           AS maximum
FROM pg_sequence s
LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = s.seqrelid AND d.refclassid = 'pg_class'::regclass
    AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
LEFT JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
WHERE s.seqincrement > 0
GROUP BY s.seqrelid, s.seqmax ORDER BY 1
"""


async def _prepare_copy(shadow_dsn: str) -> int:
    """Drop what replication left in the copy and move its sequences; return how many were moved."""
    conn = await _connect(shadow_dsn)
    try:
        await changelog.remove(conn, CaptureSettings())
        for row in await conn.fetch(PUBLICATIONS, timeout=STATEMENT_TIMEOUT_S):
            await _execute(conn, f"DROP PUBLICATION {quote(row['pubname'])}")
        rows = await conn.fetch(SEQUENCES, timeout=STATEMENT_TIMEOUT_S)
        sequences = [ShadowSequence(row["name"], row["maximum"], row["last"]) for row in rows]
        for sequence in sequences:
            await _execute(conn, f"ALTER SEQUENCE {sequence.name} RESTART WITH {shadow_start(sequence)}")
    finally:
        await conn.close()
    logger.info("shadow_cloned", extra={"sequences": len(sequences)})
    return len(sequences)


async def _execute(conn: asyncpg.Connection, statement: str) -> None:
    try:
        await conn.execute(statement, timeout=STATEMENT_TIMEOUT_S)
    except asyncpg.PostgresError as error:
        raise CloneError(f"{statement}: {error}") from error


async def _connect(dsn: str, *, database: str | None = None) -> asyncpg.Connection:
    return await connect(dsn, timeout_s=CONNECT_TIMEOUT_S, database=database)
