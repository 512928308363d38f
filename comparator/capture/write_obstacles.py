"""Find what would keep the runner's writes to the shadow from leaving exactly the rows that it writes.

The application's triggers and rules on the shadow are there for the mirrored requests. When the runner itself writes, a trigger that sets
`updated_at` or fills an audit table would change rows that live's own trigger has changed already. In the replica role
(`session_replication_role = replica`) PostgreSQL fires neither these nor the checks and cascades of foreign keys:

    enabled as               in the replica role   otherwise
    ENABLE (the default)     silent                fires
    ENABLE REPLICA           fires                 silent
    ENABLE ALWAYS            fires                 fires
    foreign keys             silent                checked, cascaded

A superuser may set the role; since PostgreSQL 15 also who was granted SET on the parameter; on Amazon RDS and Aurora a member of
rds_superuser. `read_write_facts` queries the shadow and `write_obstacles` (pure) evaluates the answers. Neither changes anything.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import asyncpg

from comparator.capture.catalog import CATALOG_TIMEOUT_S
from comparator.capture.table_shape import Catalog, TableShape, quote
from comparator.postgres import Connection

GRANT_SET_SINCE = 15
"""First PostgreSQL version in which the right to set a parameter can be granted."""

OUR_TRIGGER = "[!_]shadow_(tag|capture)"
"""Matches the names of the triggers that this project installs."""
WRITES = ("SELECT", "INSERT", "UPDATE", "DELETE")


@dataclass(frozen=True, slots=True)
class TableWriteFacts:
    """The facts about one table of the shadow that decide how it can be written.

    Attributes:
        triggers: state (pg_trigger.tgenabled) by name, of the application's triggers on it and on its partitions.
        rules: state (pg_rewrite.ev_enabled) by name, of its rules for INSERT, UPDATE and DELETE.
        unique: it has a UNIQUE or EXCLUDE constraint or index besides its primary key.
        cascades: foreign keys that reference it and do more than check when a row of it is deleted.
        filtered: row level security hides rows from the role, or refuses its writes.
        forbidden: privileges that the role lacks.
    """

    triggers: Mapping[str, str]
    rules: Mapping[str, str]
    unique: bool = False
    cascades: tuple[str, ...] = ()
    filtered: bool = False
    forbidden: tuple[str, ...] = ()


NO_FACTS = TableWriteFacts({}, {})


@dataclass(frozen=True, slots=True)
class ShadowWriteFacts:
    """The facts about the role that writes the shadow, and about its tables.

    Attributes:
        role: name of the connected role.
        version: major version of the server.
        replica: the role may set `session_replication_role`.
        tables: facts by table name.
    """

    role: str
    version: int
    replica: bool
    tables: Mapping[str, TableWriteFacts]

    def fragile(self) -> frozenset[str]:
        """Return the tables whose rows must not be deleted and inserted again: others would be deleted or changed with them."""
        return frozenset() if self.replica else frozenset(name for name, table in self.tables.items() if table.cascades)

    def bound(self, catalog: Catalog) -> frozenset[str]:
        """Return the tables of whose rows some cannot be written without others: they exchange unique values, or reference them."""
        bound = {name for name, table in self.tables.items() if table.unique}
        if not self.replica:
            for shape in catalog.tables.values():
                immediate = [key.references for key in shape.foreign_keys if not key.deferrable]
                bound.update(immediate, (shape.name,) if immediate else ())
            bound |= self.fragile()
        return frozenset(bound)

    def of(self, table: str) -> TableWriteFacts:
        """Return the facts about a table."""
        return self.tables.get(table, NO_FACTS)


@dataclass(frozen=True, slots=True)
class WriteObstacle:
    """A reason for which the rows of a table would not become what is written, and the statements that remove it."""

    table: str
    problem: str
    remedy: tuple[str, ...]


TABLE_FACTS = """
WITH RECURSIVE named (name, oid) AS (SELECT name, relation::regclass::oid FROM unnest($1::text[], $2::text[]) AS v (name, relation)),
parts (name, oid, root) AS (
    SELECT name, oid, true FROM named
    UNION ALL
    SELECT p.name, i.inhrelid, false FROM parts p JOIN pg_inherits i ON i.inhparent = p.oid JOIN pg_class c ON c.oid = i.inhrelid
    WHERE c.relispartition
)
SELECT named.name,
    ARRAY(SELECT DISTINCT t.tgenabled::text || t.tgname FROM parts p JOIN pg_trigger t ON t.tgrelid = p.oid
          WHERE p.name = named.name AND NOT t.tgisinternal AND t.tgenabled <> 'D'
            AND t.tgname !~ $4) AS triggers,
    ARRAY(SELECT r.ev_enabled::text || r.rulename FROM pg_rewrite r
          WHERE r.ev_class = named.oid AND r.ev_type IN ('2', '3', '4') AND r.ev_enabled <> 'D') AS rules,
    EXISTS (SELECT FROM parts p JOIN pg_index i ON i.indrelid = p.oid
            WHERE p.name = named.name AND (i.indisunique OR i.indisexclusion) AND NOT i.indisprimary) AS is_unique,
    ARRAY(SELECT f.conname::text FROM pg_constraint f
          WHERE f.contype = 'f' AND f.confrelid = named.oid AND f.confdeltype <> 'a' ORDER BY 1) AS cascades,
    row_security_active(named.oid) AS filtered,
    ARRAY(SELECT p FROM unnest($3::text[]) AS p WHERE NOT has_table_privilege(named.oid, p)) AS forbidden
FROM named
"""
ROLE = "SELECT current_user::text"
SET_REPLICA = "SET LOCAL session_replication_role = replica"


async def may_use_replica_role(conn: Connection) -> bool:
    """Return whether the role may set `session_replication_role`: it is tried, and taken back."""
    transaction = conn.transaction()
    await transaction.start()
    try:
        await conn.execute(SET_REPLICA, timeout=CATALOG_TIMEOUT_S)
    except asyncpg.InsufficientPrivilegeError:
        return False
    finally:
        await transaction.rollback()
    return True


async def read_write_facts(conn: Connection, catalog: Catalog) -> ShadowWriteFacts:
    """Read the facts from the shadow database, about the tables of a catalogue that was read from it."""
    names, relations = list(catalog.tables), [shape.quoted for shape in catalog.tables.values()]
    rows = await conn.fetch(TABLE_FACTS, names, relations, list(WRITES), OUR_TRIGGER, timeout=CATALOG_TIMEOUT_S)
    return ShadowWriteFacts(
        role=await conn.fetchval(ROLE, timeout=CATALOG_TIMEOUT_S),
        version=conn.get_server_version().major,
        replica=await may_use_replica_role(conn),
        tables={
            row["name"]: TableWriteFacts(
                triggers=_by_name(row["triggers"]),
                rules=_by_name(row["rules"]),
                unique=row["is_unique"],
                cascades=tuple(row["cascades"]),
                filtered=row["filtered"],
                forbidden=tuple(row["forbidden"]),
            )
            for row in rows
        },
    )


def _by_name(states: Iterable[str]) -> dict[str, str]:
    """Split `Otouch` into name and state."""
    return {text[1:]: text[0] for text in sorted(states)}


def write_obstacles(facts: ShadowWriteFacts, catalog: Catalog) -> tuple[WriteObstacle, ...]:
    """Return what keeps the tables of the shadow from being written exactly, in the order of the catalogue."""
    found = [obstacle for shape in catalog.tables.values() for obstacle in _of_table(shape, facts)]
    return tuple(found)


def replica_remedy(facts: ShadowWriteFacts) -> tuple[str, ...]:
    """Return the statements, of which one is enough, that let the role switch triggers off for its own session."""
    role = quote(facts.role)
    grant = (
        f"GRANT SET ON PARAMETER session_replication_role TO {role};"
        if facts.version >= GRANT_SET_SINCE
        else f"ALTER ROLE {role} SUPERUSER;"
    )
    return grant, f"-- on Amazon RDS and Aurora: GRANT rds_superuser TO {role};"


def _of_table(shape: TableShape, facts: ShadowWriteFacts) -> Iterable[WriteObstacle]:
    table, role = facts.of(shape.name), quote(facts.role)
    if table.forbidden:
        rights = ", ".join(table.forbidden)
        remedy = (f"GRANT {rights} ON {shape.quoted} TO {role};",)
        yield WriteObstacle(shape.name, f"the role {facts.role} lacks {rights} on it", remedy)
    if table.filtered:
        remedy = (f"ALTER ROLE {role} BYPASSRLS;",)
        yield WriteObstacle(shape.name, "row level security hides rows from the role, or refuses its writes", remedy)
    yield from _firing(shape, table, facts)
    if not facts.replica and table.unique and table.cascades:
        # Values that two rows exchange need one of them deleted and inserted again, which would delete the rows that reference it.
        problem = (
            f"it has a UNIQUE or EXCLUDE constraint, and deleting a row has consequences ({', '.join(table.cascades)})"
        )
        yield WriteObstacle(shape.name, problem, replica_remedy(facts))


def _firing(shape: TableShape, table: TableWriteFacts, facts: ShadowWriteFacts) -> Iterable[WriteObstacle]:
    """Yield an obstacle for the triggers and one for the rules that fire when the runner writes."""
    for kind, states in (("TRIGGER", table.triggers), ("RULE", table.rules)):
        by_role = [name for name, state in states.items() if state == "O"]
        if by_role and not facts.replica:
            problem = (
                f"its {kind.lower()} {', '.join(by_role)} would fire when rows are aligned, as it did on live already"
            )
            yield WriteObstacle(shape.name, problem, replica_remedy(facts))
        stubborn = [name for name, state in states.items() if state == "A" or (state == "R" and facts.replica)]
        if stubborn:
            problem = f"its {kind.lower()} {', '.join(stubborn)} is enabled ALWAYS or for REPLICA and would fire when rows are aligned"
            remedy = tuple(f"ALTER TABLE {shape.quoted} ENABLE {kind} {quote(name)};" for name in stubborn)
            yield WriteObstacle(shape.name, problem, (*remedy, *(() if facts.replica else replica_remedy(facts))))
