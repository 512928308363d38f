"""Clone the live database into the shadow database.

The copy is made by template when both are on one server, live is small and has no connections (a template copy refuses new connections
while it runs, so it is never made of a database in use); otherwise by pg_dump and pg_restore.
With the name of a slot, a persistent slot is created first and the dump reads exactly the state at the slot's start: a reader that
starts from the slot misses nothing and sees nothing twice.
Afterwards sequences are advanced, so that ids generated in the shadow never equal ids that come from live, and the remains of live's own
replication (publications, the change log; subscriptions are never copied) are dropped.

All of that happens in a database of another name, which gets its own at the end: whatever waits for the shadow would write to a half-restored
one, and both would wait for each other's locks.

    CREATE DATABASE shadow_clone_1f9c03ab -> pg_restore, sequences -> ALTER DATABASE shadow_clone_1f9c03ab RENAME TO shadow
"""

import asyncio
import contextlib
import logging
import secrets
import shutil
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import asyncpg

from comparator.capture import trigger_log
from comparator.capture.errors import CaptureError, CloneError
from comparator.capture.replication import ReplicationConnection, environment, program_environment
from comparator.capture.session import APPLICATION_NAME, SESSION_SETTINGS, connect
from comparator.capture.settings import CaptureSettings
from comparator.capture.table_shape import quote
from comparator.postgres import UNAVAILABLE

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 10.0
STATEMENT_TIMEOUT_S = 600.0
NAME_CHARS_MAX = 40
"""Characters of the shadow's name in the name that the database has until it is complete, of 63 bytes at most."""
SHADOW_START = 2**40
"""Next value of the shadow's bigint sequences: far above live's ids, and exact in JSON (below 2^53)."""


class CloneMethod(StrEnum):
    """The way to copy; `auto` uses a template when live is small, on the same server and without connections."""

    AUTO = "auto"
    TEMPLATE = "template"
    DUMP = "dump"


@dataclass(frozen=True, slots=True)
class CloneOptions:
    """Options of a clone.

    Attributes:
        method: auto, template or dump.
        replace: drop the shadow database if it exists.
        programs: folder of pg_dump and pg_restore; None for those on PATH.
        slot: name of a persistent slot to create on live, from which a reader continues; "" for none.
        maintenance: database to connect to while the shadow database is created.
        template_max_bytes: size of live above which `auto` dumps.
        timeout_s: limit for the dump, and for the restore, in seconds.
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
    """The result of a clone: the method used, the LSN at the slot's start (0 without a slot), the number of advanced sequences."""

    method: CloneMethod
    lsn: int
    sequences: int


@dataclass(frozen=True, slots=True)
class ShadowSequence:
    """A sequence of the shadow.

    Attributes:
        name: quoted name.
        maximum: largest value of the sequence, and of the type of the column that it fills.
        last: last value, None for a sequence that was never used.
    """

    name: str
    maximum: int
    last: int | None


@dataclass(frozen=True, slots=True)
class _DatabaseLocation:
    """A database: system identifier of its server, its name, its size and the number of other connections to it."""

    server: int
    name: str
    bytes: int
    connections: int


async def clone(live_dsn: str, shadow_dsn: str, options: CloneOptions) -> CloneResult:
    """Create the database at `shadow_dsn` as a clone of the one at `live_dsn`.

    Raises:
        CloneError: the shadow exists already, is live itself, or a program or statement failed.
    """
    live = await _locate(live_dsn)
    target = environment(shadow_dsn).get("PGDATABASE", "")
    conn = await _connect(shadow_dsn, database=options.maintenance)
    try:
        same_server = await conn.fetchval(SERVER) == live.server
        if same_server and target == live.name:
            raise CloneError("databases.shadow and databases.live are the same database")
        method = _method(live, same_server=same_server, options=options)
        await _ensure_absent(conn, target, replace=options.replace)
        lsn = 0
        unnamed = f"{target[:NAME_CHARS_MAX]}_clone_{secrets.token_hex(4)}"
        try:
            if method is CloneMethod.TEMPLATE:
                await _copy_template(conn, live.name, unnamed)
            else:
                await _execute(conn, f"CREATE DATABASE {quote(unnamed)} TEMPLATE template0")
                lsn = await _dump_and_restore(live_dsn, shadow_dsn, unnamed, options, keep_owners=same_server)
            sequences = await _prepare_copy(shadow_dsn, unnamed)
            await _execute(conn, f"ALTER DATABASE {quote(unnamed)} RENAME TO {quote(target)}")
        except BaseException:
            with contextlib.suppress(asyncpg.PostgresError, *UNAVAILABLE):
                await conn.execute(f"DROP DATABASE IF EXISTS {quote(unnamed)} WITH (FORCE)", timeout=CONNECT_TIMEOUT_S)
            raise
    finally:
        await conn.close()
    return CloneResult(method, lsn, sequences)


def _method(live: _DatabaseLocation, *, same_server: bool, options: CloneOptions) -> CloneMethod:
    """Choose the way to copy; the snapshot of a slot can only be dumped."""
    if options.method is CloneMethod.TEMPLATE and (not same_server or options.slot):
        raise CloneError("a template copy requires both databases on one server, and no slot: clone with --method dump")
    if options.method is CloneMethod.TEMPLATE and live.connections:
        raise CloneError("live has connections: clone with --method dump")
    if options.method is not CloneMethod.AUTO:
        return options.method
    undisturbed = live.connections == 0 and live.bytes <= options.template_max_bytes
    return CloneMethod.TEMPLATE if same_server and undisturbed and not options.slot else CloneMethod.DUMP


def shadow_start(sequence: ShadowSequence) -> int:
    """Choose the next value of a shadow's sequence, well above live's last value.

    It is 2^40 for a bigint; for a smaller range three quarters of the maximum, e.g. 1,610,612,736 for an integer; and when live's last
    value is above that already, halfway between it and the maximum.
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
        raise CloneError("the server returned no row about the live database")
    return _DatabaseLocation(row["server"], row["name"], row["bytes"], row["connections"])


EXISTS = "SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = $1)"


async def _ensure_absent(conn: asyncpg.Connection, database: str, *, replace: bool) -> None:
    if not await conn.fetchval(EXISTS, database, timeout=STATEMENT_TIMEOUT_S):
        return
    if not replace:
        raise CloneError(f"the database {database} exists already; give --replace to drop it first")
    await _execute(conn, f"DROP DATABASE {quote(database)} WITH (FORCE)")


async def _copy_template(conn: asyncpg.Connection, live: str, target: str) -> None:
    try:
        await conn.execute(f"CREATE DATABASE {quote(target)} TEMPLATE {quote(live)}", timeout=STATEMENT_TIMEOUT_S)
    except asyncpg.ObjectInUseError as error:
        raise CloneError("live has connections: clone with --method dump") from error
    except asyncpg.PostgresError as error:
        raise CloneError(f"the template copy failed: {error}") from error


async def _dump_and_restore(
    live_dsn: str, shadow_dsn: str, database: str, options: CloneOptions, *, keep_owners: bool
) -> int:
    """Dump live into a file and restore it into a database of the shadow's server.

    Returns:
        The LSN at the slot's start, 0 without a slot.
    """
    with tempfile.TemporaryDirectory(prefix="shadow-clone-") as folder:
        dump = str(Path(folder) / "live.dump")
        async with _snapshot(live_dsn, options.slot) as (snapshot, lsn):
            arguments = ["--format=custom", "--compress=0", "--no-publications", "--no-subscriptions", f"--file={dump}"]
            arguments += [f"--snapshot={snapshot}"] if snapshot else []
            await _run_program("pg_dump", arguments, dsn=live_dsn, options=options)
        arguments = ["--exit-on-error", f"--dbname={database}"]
        arguments += [] if keep_owners else ["--no-owner", "--no-privileges"]
        await _run_program("pg_restore", [*arguments, dump], dsn=shadow_dsn, options=options)
    return lsn


@asynccontextmanager
async def _snapshot(dsn: str, slot: str) -> AsyncGenerator[tuple[str, int]]:
    """Create the persistent slot and hold the snapshot of its start during the block; yield `("", 0)` without a slot's name."""
    if not slot:
        yield "", 0
        return
    wire = await ReplicationConnection.connect(
        dsn, session=SESSION_SETTINGS, application=APPLICATION_NAME, timeout_s=CONNECT_TIMEOUT_S
    )
    try:
        start = await wire.create_slot(slot, timeout_s=STATEMENT_TIMEOUT_S)
        try:
            yield start
        except BaseException:
            with contextlib.suppress(CaptureError, TimeoutError):
                await wire.drop_slot(slot, timeout_s=CONNECT_TIMEOUT_S)
            raise
    finally:
        await wire.aclose()


async def _run_program(name: str, arguments: list[str], *, dsn: str, options: CloneOptions) -> None:
    """Run a PostgreSQL program. The password is passed in the environment, where other users cannot read it."""
    folder = str(options.programs) if options.programs else None
    path = shutil.which(name, path=folder)
    if path is None:
        raise CloneError(f"{name} was not found {'in ' + folder if folder else 'on PATH'}")
    process = await asyncio.create_subprocess_exec(
        path,
        "--no-password",
        *arguments,
        env=program_environment(environment(dsn)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(options.timeout_s):
            _, errors = await process.communicate()
    except TimeoutError as error:
        raise CloneError(f"{name} took longer than {options.timeout_s:g} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise CloneError(f"{name} failed: {errors.decode(errors='replace').strip()[-2000:]}")


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


async def _prepare_copy(shadow_dsn: str, database: str) -> int:
    """Drop the remains of live's replication in the copy and advance its sequences; return the number of sequences."""
    conn = await _connect(shadow_dsn, database=database)
    try:
        await trigger_log.remove(conn, CaptureSettings())
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
