"""Check whether a database can be captured from, and suggest the SQL that would fix what it lacks.

`read_facts` queries the database and `judge` (pure) evaluates the answers; neither changes anything. Statements that `--apply` may run
for the operator belong to checks that are `applicable`; the others (parameters of the server, privileges of a role) are only printed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import asyncpg

from comparator.capture.capturability import (
    MEANING,
    CaptureState,
    PublicationState,
    breaks_writes,
    gap,
    not_capturable,
)
from comparator.capture.catalog import CATALOG_TIMEOUT_S, literal, read_family, user_tables
from comparator.capture.errors import CatalogError
from comparator.capture.publication import (
    needs_generated,
    option_statements,
    read_former,
    read_publication,
    table_statements,
    withdrawal_statements,
)
from comparator.capture.session import VERSION_MIN
from comparator.capture.settings import CaptureSettings, Driver, SlotKind
from comparator.capture.table_shape import Catalog, TableKind, TableShape, quote
from comparator.capture.trigger_log import install_statements, logged_tables
from comparator.capture.write_obstacles import ShadowWriteFacts, read_write_facts, write_obstacles


class CheckLevel(StrEnum):
    """The result of a check: `failed` prevents capturing, `warning` has a cost that the message names."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check.

    Attributes:
        name: subject of the check.
        level: ok, warning or failed.
        message: finding in one line.
        remedy: SQL statements that would fix it, in order.
        applicable: `--apply` may run the remedy on the connection that was checked.
    """

    name: str
    level: CheckLevel
    message: str
    remedy: tuple[str, ...] = ()
    applicable: bool = False


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """The facts about a database that `judge` evaluates.

    Attributes:
        version: major version of the server.
        encoding: encoding of the database.
        role: name of the connected role.
        replicates: the role may open replication connections.
        wal_level: parameter wal_level.
        slots_free: number of unused replication slots.
        senders_free: number of unused walsenders.
        keep_size_mb: parameter max_slot_wal_keep_size in megabytes, -1 for no limit.
        sender_timeout_ms: parameter wal_sender_timeout in milliseconds, 0 for no limit.
        lock_timeout_ms: the session's lock_timeout in milliseconds, 0 for no limit.
        slot_status: wal_status of the configured persistent slot, "" when it does not exist.
        catalog: shapes of the configured tables.
        missing: configured tables that do not exist.
        publication: state of the configured publication.
        logged: tables with the change-log trigger.
        log_bytes: size of the change log in bytes.
        others: tables of the database that are neither configured nor captured.
        named: the configuration names the tables, so that each of them has to be captured; otherwise all tables are meant that can be.
        former: replica identities of the configured tables and their partitions, by object id, where they are not FULL.
        withdrawn: statements that unpublish the tables which are not configured.
        broken: tables that were tried, and whose writes would fail once they are captured, with the server's reason.
        writes: the facts that decide how the runner's writes end; None for a database that it does not write to.
    """

    version: int
    encoding: str
    role: str
    replicates: bool
    wal_level: str
    slots_free: int
    senders_free: int
    keep_size_mb: int
    sender_timeout_ms: int
    lock_timeout_ms: int
    slot_status: str
    catalog: Catalog
    missing: tuple[str, ...]
    publication: PublicationState
    logged: tuple[str, ...]
    log_bytes: int
    others: tuple[str, ...] = ()
    named: bool = True
    former: Mapping[int, str] = field(default_factory=dict[int, str])
    withdrawn: tuple[str, ...] = ()
    broken: Mapping[str, str] = field(default_factory=dict[str, str])
    writes: ShadowWriteFacts | None = None

    def state(self, driver: Driver) -> CaptureState:
        """Return the preparation, as a driver finds it."""
        return CaptureState(driver, self.version, self.publication, self.logged)


SERVER = """
SELECT current_setting('server_encoding') AS encoding, current_user::text AS role, current_setting('wal_level') AS wal_level,
    (SELECT rolreplication OR rolsuper FROM pg_roles WHERE rolname = current_user)
        OR EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'rds_replication' AND pg_has_role(current_user, oid, 'MEMBER'))
        AS replicates,
    current_setting('max_replication_slots')::int - (SELECT count(*) FROM pg_replication_slots)::int AS slots_free,
    current_setting('max_wal_senders')::int
        - (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender')::int AS senders_free,
    (SELECT setting::int FROM pg_settings WHERE name = 'max_slot_wal_keep_size') AS keep_size_mb,
    (SELECT setting::int FROM pg_settings WHERE name = 'wal_sender_timeout') AS sender_timeout_ms,
    (SELECT setting::int FROM pg_settings WHERE name = 'lock_timeout') AS lock_timeout_ms,
    coalesce((SELECT wal_status FROM pg_replication_slots WHERE slot_name = $1), '') AS slot_status
"""

LOG_BYTES = "SELECT coalesce(pg_total_relation_size(to_regclass($1)), 0)::bigint"


async def read_facts(
    conn: asyncpg.Connection,
    settings: CaptureSettings,
    *,
    named: bool = True,
    broken: Mapping[str, str] | None = None,
    shadow: bool = False,
) -> DatabaseFacts:
    """Read the facts from the database.

    Args:
        conn: connection to the database.
        settings: section `capture:` with the tables filled in.
        named: the configuration names the tables; False when they are simply all tables of the database.
        broken: tables that could not be prepared because their writes would fail.
        shadow: the database is the shadow, to which the runner writes.
    """
    server = await conn.fetchrow(SERVER, settings.slot.name, timeout=CATALOG_TIMEOUT_S)
    if server is None:
        raise CatalogError("the server returned no row about itself")
    catalog = await read_family(conn, settings.tables)
    publication = await read_publication(conn, settings.publication)
    former: dict[int, str] = {}
    for table in catalog.tables.values():
        former |= await read_former(conn, table)
    every = await user_tables(conn, without_schemas=(settings.log_schema,))
    return DatabaseFacts(
        **dict(server),
        version=conn.get_server_version().major,
        catalog=catalog,
        missing=tuple(name for name in settings.tables if name not in catalog.tables),
        publication=publication,
        logged=await logged_tables(conn),
        log_bytes=await conn.fetchval(LOG_BYTES, log_relation(settings), timeout=CATALOG_TIMEOUT_S),
        others=tuple(name for name in every if name not in catalog.tables),
        named=named,
        former=former,
        withdrawn=await withdrawal_statements(conn, publication, settings.publication, keep=catalog.tables),
        broken=broken or {},
        writes=await read_write_facts(conn, catalog) if shadow else None,
    )


def log_relation(settings: CaptureSettings) -> str:
    """Return the name of the change log for to_regclass()."""
    return f"{settings.log_schema}.log"


def judge(facts: DatabaseFacts, settings: CaptureSettings) -> tuple[Check, ...]:
    """Return every check for the configured driver, in the order in which the remedies should be run."""
    server = [_version(facts), _encoding(facts)]
    if settings.driver is Driver.OFF:
        return (Check("driver", CheckLevel.WARNING, "off: effects are neither compared nor aligned"),)
    state = facts.state(settings.driver)
    shapes = facts.catalog.tables.values()
    obstacles = {
        table.name: not_capturable(table, settings.driver, version=facts.version) or facts.broken.get(table.name, "")
        for table in shapes
    }
    capturable = Catalog({table.name: table for table in shapes if not obstacles[table.name]})
    tables = [
        _tables_exist(facts),
        *(check for table in shapes for check in _remarks(table, obstacles[table.name], facts)),
    ]
    tables += [*_written(facts, capturable), *_not_captured(facts)]
    if settings.driver is Driver.TRIGGERS:
        return (*server, *tables, *_change_log(facts, settings, capturable))
    log = [_wal_level(facts), _rights(facts), _free_slots(facts, settings)]
    persistent = _persistent(facts, settings) if settings.slot.kind is SlotKind.PERSISTENT else []
    published = [_options(facts, settings, capturable)]
    published += [_published(table, facts, settings, gap(table, state)) for table in capturable.tables.values()]
    return (*server, *log, *persistent, *tables, *published, *_published_unconfigured(facts), _locks(facts, settings))


def _version(facts: DatabaseFacts) -> Check:
    if facts.version < VERSION_MIN:
        return Check("version", CheckLevel.FAILED, f"PostgreSQL {facts.version}; {VERSION_MIN} or later is required")
    return Check("version", CheckLevel.OK, f"PostgreSQL {facts.version}")


def _encoding(facts: DatabaseFacts) -> Check:
    if facts.encoding == "SQL_ASCII":
        return Check("encoding", CheckLevel.WARNING, "SQL_ASCII: a value that is not UTF-8 will stop the capture")
    return Check("encoding", CheckLevel.OK, facts.encoding)


def _wal_level(facts: DatabaseFacts) -> Check:
    if facts.wal_level == "logical":
        return Check("wal_level", CheckLevel.OK, "logical")
    remedy = ("ALTER SYSTEM SET wal_level = 'logical';", "-- then restart the server")
    return Check("wal_level", CheckLevel.FAILED, f"{facts.wal_level}; logical is required", remedy)


def _rights(facts: DatabaseFacts) -> Check:
    if facts.replicates:
        return Check("rights", CheckLevel.OK, f"{facts.role} may replicate")
    remedy = (
        f"ALTER ROLE {quote(facts.role)} REPLICATION;",
        f"-- on Amazon RDS: GRANT rds_replication TO {quote(facts.role)};",
    )
    return Check("rights", CheckLevel.FAILED, f"{facts.role} may not replicate", remedy)


def _free_slots(facts: DatabaseFacts, settings: CaptureSettings) -> Check:
    held = settings.slot.kind is SlotKind.PERSISTENT and facts.slot_status != ""
    if facts.slots_free < 1 and not held:
        remedy = ("ALTER SYSTEM SET max_replication_slots = 20;", "-- then restart the server")
        return Check("slots", CheckLevel.FAILED, "no replication slot is free", remedy)
    if facts.senders_free < 1 and settings.driver is Driver.STREAM:
        remedy = ("ALTER SYSTEM SET max_wal_senders = 20;", "-- then restart the server")
        return Check("slots", CheckLevel.FAILED, "no walsender is free", remedy)
    if 0 < facts.sender_timeout_ms < 2 * settings.feedback_ms:
        text = f"wal_sender_timeout is {facts.sender_timeout_ms} ms: set feedback_ms to less than half of it"
        return Check("slots", CheckLevel.FAILED, text)
    return Check("slots", CheckLevel.OK, f"{facts.slots_free} slots and {facts.senders_free} walsenders are free")


def _persistent(facts: DatabaseFacts, settings: CaptureSettings) -> list[Check]:
    name = settings.slot.name
    checks: list[Check] = []
    if settings.driver is not Driver.STREAM:
        checks.append(Check("slot", CheckLevel.FAILED, "only the stream driver reads a persistent slot"))
    if facts.slot_status == "lost":
        remedy = (f"SELECT pg_drop_replication_slot({literal(name)});",)
        text = f"the server removed log of the slot {name}; verify or clone the shadow afterwards"
        checks.append(Check("slot", CheckLevel.FAILED, text, remedy))
    if facts.keep_size_mb < 0:
        remedy = ("ALTER SYSTEM SET max_slot_wal_keep_size = '10GB';", "SELECT pg_reload_conf();")
        text = "max_slot_wal_keep_size has no limit: without a reader the log fills the server's disk"
        checks.append(Check("slot", CheckLevel.FAILED, text, remedy))
    return checks or [Check("slot", CheckLevel.OK, f"{name} keeps at most {facts.keep_size_mb} MB of log")]


def _tables_exist(facts: DatabaseFacts) -> Check:
    if facts.missing:
        return Check("tables", CheckLevel.FAILED, f"no such table: {', '.join(facts.missing)}")
    if not facts.catalog.tables:
        return Check("tables", CheckLevel.FAILED, "no tables are configured (capture.tables or compare.tables)")
    return Check("tables", CheckLevel.OK, f"{len(facts.catalog.tables)} tables")


def _remarks(table: TableShape, obstacle: str, facts: DatabaseFacts) -> list[Check]:
    """Return the checks of one table that do not depend on its preparation."""
    name = f"table {table.name}"
    if obstacle:
        level = CheckLevel.FAILED if facts.named else CheckLevel.WARNING
        remedy = "; take it out of capture.tables and compare.tables" if facts.named else ""
        return [Check(name, level, f"not_capturable: {obstacle}; {MEANING}{remedy}")]
    checks: list[Check] = []
    if table.rows_hidden:
        text = f"row level security hides rows from {facts.role}: they cannot be copied or verified"
        remedy = (f"ALTER ROLE {quote(facts.role)} BYPASSRLS;",)
        checks.append(Check(name, CheckLevel.FAILED, text, remedy))
    if not table.readable:
        text = f"{facts.role} may not read every column: rows cannot be copied or verified"
        remedy = (f"GRANT USAGE ON SCHEMA {quote(table.schema)} TO {quote(facts.role)};",)
        remedy += (f"GRANT SELECT ON TABLE {table.quoted} TO {quote(facts.role)};",)
        checks.append(Check(name, CheckLevel.FAILED, text, remedy))
    if not table.primary_key:
        checks.append(Check(name, CheckLevel.OK, "no primary key: compared as a multiset of whole rows"))
    if not table.owned:
        checks.append(Check(name, CheckLevel.WARNING, "the role does not own it: its owner must run the statements"))
    fixed = [key.name for key in table.foreign_keys if not key.deferrable]
    if fixed:
        text = f"foreign keys that are not deferrable ({', '.join(fixed)}): parent rows are written first"
        checks.append(Check(name, CheckLevel.WARNING, text))
    if table.kind is TableKind.PARTITIONED:
        text = "TRUNCATE of a single partition is in no log: the runner finds it by the partition's file, and resyncs the table"
        checks.append(Check(name, CheckLevel.OK, text))
    return checks


def _written(facts: DatabaseFacts, capturable: Catalog) -> list[Check]:
    """Return a check for everything that keeps rows of the shadow from becoming what the runner writes."""
    obstacles = write_obstacles(facts.writes, capturable) if facts.writes else ()
    return [
        Check(f"table {obstacle.table}", CheckLevel.FAILED, f"cannot be aligned: {obstacle.problem}", obstacle.remedy)
        for obstacle in obstacles
    ]


def _not_captured(facts: DatabaseFacts) -> list[Check]:
    if not facts.others:
        return []
    text = f"{len(facts.others)} tables are not captured, their rows are neither compared nor aligned: {', '.join(facts.others)}"
    return [Check("other tables", CheckLevel.OK, text)]


def _options(facts: DatabaseFacts, settings: CaptureSettings, capturable: Catalog) -> Check:
    state, name = facts.publication, settings.publication
    if state.all_tables:
        remedy = (f"DROP PUBLICATION {quote(name)};",)
        text = f"{name} is FOR ALL TABLES, or for those of a schema, which may break writes"
        return Check("publication", CheckLevel.FAILED, text, remedy)
    if not capturable.tables:
        return Check("publication", CheckLevel.FAILED, "nothing to publish")
    statements = option_statements(capturable, state, name, version=facts.version)
    if not statements:
        return Check("publication", CheckLevel.OK, f"{name} publishes every kind of change")
    text = f"{name} does not exist"
    if state.tables is not None:
        tables = [table for table in capturable.tables.values() if table.name in state.tables]
        generated = needs_generated(tables, version=facts.version) and not state.publishes_generated
        broken = [
            table.name
            for table in tables
            if generated and breaks_writes(table, version=facts.version, publishes_generated=False)
        ]
        text = f"{name} does not publish every kind of change"
        text += f"; writes of published tables fail because of generated columns: {', '.join(broken)}" if broken else ""
    return Check("publication", CheckLevel.FAILED, text, statements, applicable=not facts.missing)


def _published(table: TableShape, facts: DatabaseFacts, settings: CaptureSettings, reason: str) -> Check:
    """Return the check whether the changes of a table that can be captured all arrive."""
    name = f"captured {table.name}"
    if not reason:
        return Check(name, CheckLevel.OK, "published whole, old images are complete")
    statements = table_statements(table, facts.publication, settings.publication, facts.former)
    if table.name in (facts.publication.tables or ()):
        broken = breaks_writes(table, version=facts.version, publishes_generated=True)
        reason = f"published, and its writes fail: {broken}" if broken else reason
    return Check(name, CheckLevel.FAILED, reason, statements, applicable=table.owned)


def _published_unconfigured(facts: DatabaseFacts) -> list[Check]:
    unconfigured = sorted(set(facts.publication.tables or ()) - set(facts.catalog.tables))
    if not unconfigured or facts.publication.all_tables:
        return []
    text = f"published but not configured: {', '.join(unconfigured)}"
    return [Check("publication", CheckLevel.WARNING, text, facts.withdrawn, applicable=True)]


def _locks(facts: DatabaseFacts, settings: CaptureSettings) -> Check:
    server = f"{facts.lock_timeout_ms} ms" if facts.lock_timeout_ms else "none"
    return Check(
        "lock_timeout",
        CheckLevel.OK,
        f"{settings.lock_timeout_ms} ms for each of our statements (the session's: {server})",
    )


def _change_log(facts: DatabaseFacts, settings: CaptureSettings, capturable: Catalog) -> list[Check]:
    absent = Catalog({name: table for name, table in capturable.tables.items() if name not in facts.logged})
    unconfigured = sorted(set(facts.logged) - set(facts.catalog.tables))
    text = f"{len(facts.logged)} tables are logged; the log holds {facts.log_bytes} bytes"
    checks = [Check("change log", CheckLevel.OK, text)]
    if absent.tables or not capturable.tables:
        statements = install_statements(absent, settings.log_schema)
        text = f"not logged: {', '.join(absent.tables)}" if absent.tables else "nothing to log"
        checks = [Check("change log", CheckLevel.FAILED, text, statements, applicable=not facts.missing)]
    if unconfigured:
        checks.append(Check("change log", CheckLevel.WARNING, f"logged but not configured: {', '.join(unconfigured)}"))
    return checks
