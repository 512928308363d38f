"""Tables that a driver can capture exactly, and tables that are captured, by shape."""

from typing import Any

import pytest

from comparator.capture.capturability import CaptureState, PublicationState, breaks_writes, gap, not_capturable
from comparator.capture.settings import Driver
from comparator.capture.table_shape import Column, Partition, ReplicaIdentity, TableKind, TableShape
from tests.unit.comparator.capture.test_preflight import table

STORED = Column("twice", "integer", generated=True, identity="", not_null=False)
VIRTUAL = Column("twice", "integer", generated=True, identity="", not_null=False, virtual=True)


def partition(**other: Any) -> Partition:
    fit: dict[str, Any] = {
        "name": "account_1",
        "quoted": '"public"."account_1"',
        "kind": TableKind.TABLE,
        "logged": True,
        "replica_identity": ReplicaIdentity.FULL,
        "has_key": True,
    }
    return Partition(**{**fit, **other})


def partitioned(*partitions: Partition, **other: Any) -> TableShape:
    defaults: dict[str, Any] = {"kind": TableKind.PARTITIONED}
    return table(**{**defaults, **other}, partitions=partitions)


EXACT = {
    "an ordinary table": table(),
    "no primary key": table(primary_key=()),
    "a deferrable primary key": table(key_deferrable=True),
    "a stored generated column": table(columns=(STORED,)),
    "rules": table(rules=("audit",)),
    "triggers": table(triggers=("touch",), statement_triggers=True),
    "children": table(children=("kid",)),
    "partitions": partitioned(partition()),
    "no partition yet": partitioned(),
}
NEVER = {
    "a view": table(kind=TableKind.VIEW),
    "a materialized view": table(kind=TableKind.MATERIALIZED_VIEW),
    "a foreign table": table(kind=TableKind.FOREIGN),
    "something else": table(kind=TableKind.OTHER),
    "a partition": table(root="whole"),
    "a foreign partition": partitioned(partition(kind=TableKind.FOREIGN)),
    "a partitioned table without a key": partitioned(partition(), primary_key=()),
    "a partitioned table with a deferrable key": partitioned(partition(), key_deferrable=True),
    "a virtual generated column": table(columns=(VIRTUAL,)),
}
TRIGGERS_ONLY = {
    "unlogged": table(logged=False),
    "an unlogged partition": partitioned(partition(logged=False)),
}
DRIVERS = (Driver.STREAM, Driver.SQL, Driver.TRIGGERS)


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("shape", EXACT.values(), ids=EXACT)
def test_shape_is_captured_by_every_driver(shape: TableShape, driver: Driver) -> None:
    assert not_capturable(shape, driver, version=18) == ""


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("shape", NEVER.values(), ids=NEVER)
def test_shape_is_captured_by_no_driver(shape: TableShape, driver: Driver) -> None:
    assert not_capturable(shape, driver, version=18) != ""


@pytest.mark.parametrize("shape", TRIGGERS_ONLY.values(), ids=TRIGGERS_ONLY)
def test_shape_is_captured_by_triggers_only(shape: TableShape) -> None:
    assert not_capturable(shape, Driver.TRIGGERS, version=18) == ""
    assert "unlogged" in not_capturable(shape, Driver.STREAM, version=18)
    assert "unlogged" in not_capturable(shape, Driver.SQL, version=18)


@pytest.mark.parametrize(
    ("shape", "generated", "reason"),
    [
        (table(replica_identity=ReplicaIdentity.DEFAULT), False, ""),
        (table(replica_identity=ReplicaIdentity.NOTHING), False, "NOTHING"),
        (table(replica_identity=ReplicaIdentity.DEFAULT, primary_key=()), False, "no primary key"),
        (table(replica_identity=ReplicaIdentity.DEFAULT, key_deferrable=True), False, "deferrable"),
        (table(columns=(STORED,)), False, "twice"),
        (table(columns=(STORED,)), True, ""),
        (table(columns=(VIRTUAL,)), True, "twice"),
        (partitioned(partition(), partition(replica_identity=ReplicaIdentity.DEFAULT)), False, ""),
        (
            partitioned(partition(replica_identity=ReplicaIdentity.DEFAULT, has_key=False)),
            False,
            "partition account_1: it has no primary key",
        ),
    ],
)
def test_published_table_breaks_writes_by_its_identity(shape: TableShape, generated: bool, reason: str) -> None:
    broken = breaks_writes(shape, version=18, publishes_generated=generated)
    assert reason in broken
    assert bool(broken) == bool(reason)


def state(driver: Driver, publication: PublicationState | None = None, logged: tuple[str, ...] = ()) -> CaptureState:
    return CaptureState(driver, 18, publication or PublicationState(("account",)), logged)


@pytest.mark.parametrize(
    ("shape", "publication", "reason"),
    [
        (table(), PublicationState(("account",)), ""),
        (partitioned(partition()), PublicationState(("account",), via_root=True), ""),
        (partitioned(partition()), PublicationState(("account",)), "publish_via_partition_root"),
        (table(), PublicationState(None), "does not exist"),
        (table(), PublicationState(("other",)), "not in the publication"),
        (table(), PublicationState(("account",), filtered=("account",)), "row filter"),
        (table(), PublicationState(("account",), publishes_all=False), "leaves out"),
        (table(replica_identity=ReplicaIdentity.DEFAULT), PublicationState(("account",)), "FULL is required"),
        (
            partitioned(partition(), partition(quoted='"p_later"', replica_identity=ReplicaIdentity.DEFAULT)),
            PublicationState(("account",), via_root=True),
            '"p_later"',
        ),
        (table(logged=False), PublicationState(("account",)), "unlogged"),
    ],
)
def test_gap_of_the_drivers_that_read_the_log(shape: TableShape, publication: PublicationState, reason: str) -> None:
    for driver in (Driver.STREAM, Driver.SQL):
        found = gap(shape, state(driver, publication))
        assert reason in found
        assert bool(found) == bool(reason)


def test_gap_of_the_triggers_driver_is_a_missing_trigger() -> None:
    assert gap(table(), state(Driver.TRIGGERS, logged=("account",))) == ""
    assert "trigger" in gap(table(), state(Driver.TRIGGERS, logged=("other",)))
