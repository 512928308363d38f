"""Decide which tables a driver can capture exactly, and whether a prepared database captures them. Pure.

A table that cannot be captured exactly is `not_capturable`: named with the reason, and never compared as if it were. Examples for a
driver that reads the write-ahead log:

    CREATE UNLOGGED TABLE cache (..)                                its rows are not in the log
    gross numeric GENERATED ALWAYS AS (net * 1.2) VIRTUAL           with a full replica identity every UPDATE on live would fail
    CREATE TABLE visit (at date, ..) PARTITION BY RANGE (at)        without a primary key: writes to the next partition would fail

`gap` then tells of a table that can be captured whether it is: after a forgotten `--apply`, or when it was dropped and created again
since, changes would be missing without a word.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from comparator.capture.settings import Driver
from comparator.capture.table_shape import ReplicaIdentity, TableKind, TableShape

GENERATED_SINCE = 18
"""First PostgreSQL version that can publish generated columns, and that refuses a full replica identity with one that is not."""

MEANING = (
    "responses of requests that write it are compared, its rows are not; routes that list it in `routes[].tables` are skipped as "
    "`not_capturable`"
)
"""Consequence for a table that is not captured."""


@dataclass(frozen=True, slots=True)
class PublicationState:
    """The state of a publication.

    Attributes:
        tables: published tables; None when the publication does not exist.
        all_tables: the publication is FOR ALL TABLES, or for all tables of a schema.
        publishes_all: it publishes INSERT, UPDATE, DELETE and TRUNCATE.
        publishes_generated: it publishes stored generated columns.
        filtered: tables that are published with a row filter or a column list.
        via_root: changes of partitions are published as changes of the partitioned table.
        former: replica identity before capture by object id of the table, as `ALTER TABLE .. REPLICA IDENTITY` takes it.
        note: comment of the publication, as far as it is not ours.
    """

    tables: tuple[str, ...] | None
    all_tables: bool = False
    publishes_all: bool = True
    publishes_generated: bool = False
    filtered: tuple[str, ...] = ()
    via_root: bool = False
    former: Mapping[int, str] | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class CaptureState:
    """The preparation of a database, as far as it decides which changes arrive.

    Attributes:
        driver: the driver that reads it.
        version: major version of the server.
        publication: state of the configured publication.
        logged: tables with the change-log trigger.
    """

    driver: Driver
    version: int
    publication: PublicationState
    logged: tuple[str, ...]


def not_capturable(table: TableShape, driver: Driver, *, version: int) -> str:
    """Return the reason for which the driver cannot capture the table exactly; "" when it can."""
    match table.kind:
        case TableKind.TABLE | TableKind.PARTITIONED:
            return _obstacle(table, version) or ("" if driver is Driver.TRIGGERS else _log_obstacle(table))
        case TableKind.VIEW:
            return "it is a view, which has no rows of its own: name the tables that are written through it"
        case TableKind.MATERIALIZED_VIEW:
            return "it is a materialized view: REFRESH is in no log; name the tables below it"
        case TableKind.FOREIGN:
            return "it is a foreign table: its rows are in another database"
        case TableKind.OTHER:
            return "it is not a table"


def _obstacle(table: TableShape, version: int) -> str:
    """Return an obstacle for every driver: the shadow is always read from its write-ahead log."""
    if table.root:
        return f"it is a partition of {table.root}: name {table.root}, whose changes include those of all partitions"
    foreign = [leaf.name for leaf in table.partitions if leaf.kind is not TableKind.TABLE]
    if foreign:
        return f"its partition {foreign[0]} is a foreign table: its rows are in another database"
    virtual = [column.name for column in table.columns if column.virtual]
    if virtual and version >= GENERATED_SINCE:
        return (
            f"its column {virtual[0]} is a virtual generated column: with the replica identity that a capture requires, UPDATE and "
            "DELETE would fail (a STORED one can be captured)"
        )
    if table.kind is TableKind.PARTITIONED and (not table.primary_key or table.key_deferrable):
        return (
            "it is partitioned and has no primary key that identifies rows: UPDATE and DELETE would fail in each partition that is "
            "created later"
        )
    return ""


def _log_obstacle(table: TableShape) -> str:
    """Return an obstacle for drivers that read the write-ahead log."""
    unlogged = [table.name] if not table.logged else [leaf.name for leaf in table.partitions if not leaf.logged]
    if unlogged:
        return (
            f"{unlogged[0]} is unlogged: its changes are not in the write-ahead log (on live, driver `triggers` captures them; on the "
            "shadow, ALTER TABLE .. SET LOGGED)"
        )
    return ""


def breaks_writes(table: TableShape, *, version: int, publishes_generated: bool) -> str:
    """Return the reason for which UPDATE or DELETE on the table would fail once it is published; "" when they would not.

    The catalogue's answer; `comparator.capture.table_changes` tries it.
    """
    leaves = [(leaf.name, leaf.replica_identity, leaf.has_key) for leaf in table.partitions]
    has_key = bool(table.primary_key) and not table.key_deferrable
    for name, identity, keyed in leaves or [("", table.replica_identity, has_key)]:
        reason = _identity_breaks(table, identity, has_key=keyed, version=version, generated=publishes_generated)
        if reason:
            return f"partition {name}: {reason}" if name else reason
    return ""


def _identity_breaks(
    table: TableShape, identity: ReplicaIdentity, *, has_key: bool, version: int, generated: bool
) -> str:
    columns = [column.name for column in table.columns if column.generated and (column.virtual or not generated)]
    match identity:
        case ReplicaIdentity.NOTHING:
            return "its replica identity is NOTHING"
        case ReplicaIdentity.DEFAULT if not has_key:
            lacking = "its primary key is deferrable" if table.key_deferrable else "it has no primary key"
            return f"{lacking} and its replica identity is DEFAULT"
        case ReplicaIdentity.FULL if version >= GENERATED_SINCE and columns:
            return f"its replica identity covers the generated column {columns[0]}, which is not published"
        case _:
            return ""


def incomplete_identities(table: TableShape) -> tuple[str, ...]:
    """Return the relations, quoted, whose replica identity is not FULL: the table, and its partitions.

    A partition's identity decides what the log has of an old row, and the partitioned table's what is delivered of that.
    """
    holders = [(table.quoted, table.replica_identity)]
    holders += [(leaf.quoted, leaf.replica_identity) for leaf in table.partitions]
    return tuple(quoted for quoted, identity in holders if identity is not ReplicaIdentity.FULL)


def gap(table: TableShape, state: CaptureState) -> str:
    """Return the reason for which changes of the table do not all arrive as they were; "" when they do."""
    obstacle = not_capturable(table, state.driver, version=state.version)
    if obstacle:
        return obstacle
    if state.driver is Driver.TRIGGERS:
        return "" if table.name in state.logged else "it does not have the trigger of the change log"
    publication = state.publication
    if publication.tables is None:
        return "the publication does not exist"
    if table.name not in publication.tables:
        return "it is not in the publication"
    if table.name in publication.filtered:
        return "it is published with a row filter or a column list"
    if table.kind is TableKind.PARTITIONED and not publication.via_root:
        return "changes of its partitions do not arrive as its own: the publication needs publish_via_partition_root"
    if not publication.publishes_all:
        return "the publication leaves out some of INSERT, UPDATE, DELETE and TRUNCATE"
    incomplete = incomplete_identities(table)
    if incomplete:
        return f"old images of {', '.join(incomplete)} are not complete: REPLICA IDENTITY FULL is required"
    return ""


def unreadable(table: TableShape) -> str:
    """Return the reason for which the connected role cannot copy every row as it is; "" when it can."""
    if table.rows_hidden:
        return "row level security hides rows from the role (ALTER ROLE .. BYPASSRLS)"
    if not table.readable:
        return "the role may not read every column (GRANT SELECT ON .., and USAGE on its schema)"
    return ""
