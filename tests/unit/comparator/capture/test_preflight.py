"""The preflight's judgement of what a server may say."""

from typing import Any

import msgspec
import pytest

from comparator.capture.capturability import PublicationState
from comparator.capture.preflight import Check, CheckLevel, DatabaseFacts, judge
from comparator.capture.settings import CaptureSettings, Driver, Slot, SlotKind
from comparator.capture.table_shape import Catalog, Column, ForeignKey, ReplicaIdentity, TableShape
from comparator.capture.write_obstacles import ShadowWriteFacts, TableWriteFacts
from proxy.cli import capture as command

PERSISTENT = Slot(kind=SlotKind.PERSISTENT, name="keeps")


def table(name: str = "account", **other: Any) -> TableShape:
    """An ordinary table that is fit to be captured."""
    fit: dict[str, Any] = {
        "name": name,
        "schema": "public",
        "relation": name,
        "kind": "table",
        "logged": True,
        "owned": True,
        "replica_identity": ReplicaIdentity.FULL,
        "primary_key": ("id",),
        "columns": (Column("id", "bigint", generated=False, identity="", not_null=True),),
        "foreign_keys": (),
        "triggers": (),
    }
    return TableShape(**{**fit, **other})


def facts(*tables: TableShape, **other: Any) -> DatabaseFacts:
    """What a fit server says; its publication holds exactly the tables."""
    shapes = tables or (table(),)
    fit: dict[str, Any] = {
        "version": 18,
        "encoding": "UTF8",
        "role": "reader",
        "replicates": True,
        "wal_level": "logical",
        "slots_free": 5,
        "senders_free": 5,
        "keep_size_mb": 1024,
        "sender_timeout_ms": 60_000,
        "lock_timeout_ms": 0,
        "slot_status": "",
        "catalog": Catalog({shape.name: shape for shape in shapes}),
        "missing": (),
        "publication": PublicationState(tuple(shape.name for shape in shapes)),
        "logged": tuple(shape.name for shape in shapes),
        "log_bytes": 0,
    }
    return DatabaseFacts(**{**fit, **other})


def lacking(said: DatabaseFacts, **settings: Any) -> dict[str, Check]:
    """The checks that failed, by name, for settings that name the same tables."""
    chosen = CaptureSettings(**{"tables": tuple(said.catalog.tables), **settings})
    return {check.name: check for check in judge(said, chosen) if check.level is CheckLevel.FAILED}


@pytest.mark.parametrize("driver", [Driver.STREAM, Driver.SQL, Driver.TRIGGERS])
def test_prepared_database_passes_every_check(driver: Driver) -> None:
    assert lacking(facts(), driver=driver) == {}


def test_wrong_wal_level_is_fixed_by_a_server_parameter() -> None:
    assert lacking(facts(wal_level="replica"))["wal_level"].remedy[0] == "ALTER SYSTEM SET wal_level = 'logical';"


def test_triggers_driver_needs_no_logical_log_and_no_replication() -> None:
    assert lacking(facts(wal_level="replica", replicates=False, slots_free=0), driver=Driver.TRIGGERS) == {}


def test_role_without_replication_gets_the_statement() -> None:
    assert lacking(facts(replicates=False))["rights"].remedy[0] == 'ALTER ROLE "reader" REPLICATION;'


def test_old_server_is_refused() -> None:
    assert "version" in lacking(facts(version=13))


def test_exhausted_slots_are_refused_unless_one_is_ours() -> None:
    assert "slots" in lacking(facts(slots_free=0))
    assert "slots" not in lacking(facts(slots_free=0, slot_status="reserved"), slot=PERSISTENT)


def test_walsenders_matter_to_the_stream_driver_only() -> None:
    assert "slots" in lacking(facts(senders_free=0))
    assert lacking(facts(senders_free=0), driver=Driver.SQL) == {}


def test_slot_whose_log_was_removed_must_be_dropped() -> None:
    found = lacking(facts(slot_status="lost"), slot=PERSISTENT)["slot"]
    assert found.remedy == ("SELECT pg_drop_replication_slot('keeps');",)


def test_only_the_stream_driver_reads_a_persistent_slot() -> None:
    assert "only the stream driver" in lacking(facts(), driver=Driver.SQL, slot=PERSISTENT)["slot"].message


def test_sql_ascii_encoding_is_a_warning() -> None:
    (found,) = [check for check in judge(facts(encoding="SQL_ASCII"), CaptureSettings()) if check.name == "encoding"]
    assert found.level is CheckLevel.WARNING


def test_table_without_a_primary_key_is_captured_as_whole_rows() -> None:
    assert lacking(facts(table(primary_key=()))) == {}


def test_table_whose_rows_the_role_may_not_see_is_refused_with_the_statement() -> None:
    assert lacking(facts(table(rows_hidden=True)))["table account"].remedy == ('ALTER ROLE "reader" BYPASSRLS;',)


def test_table_that_the_role_may_not_read_is_refused_with_the_statements() -> None:
    assert (
        'GRANT SELECT ON TABLE "public"."account" TO "reader";'
        in lacking(facts(table(readable=False)))["table account"].remedy
    )


def test_named_table_that_cannot_be_captured_fails_the_check_with_its_meaning() -> None:
    found = lacking(facts(table(logged=False)))["table account"]
    assert found.message.startswith("not_capturable: account is unlogged")
    assert "its rows are not" in found.message


def test_unnamed_table_that_cannot_be_captured_is_a_warning() -> None:
    said = facts(table(), table("cache", logged=False), named=False)
    assert lacking(said) == {}


def test_table_whose_writes_would_fail_is_not_capturable() -> None:
    said = facts(table(), broken={"account": "live's writes would fail as app: cannot update"})
    assert "would fail as app" in lacking(said)["table account"].message


def test_trigger_that_would_fire_when_the_runner_writes_fails_the_check_of_the_shadow() -> None:
    written = TableWriteFacts({"touch": "A"}, {})
    writes = ShadowWriteFacts(role="runner", version=18, replica=True, tables={"account": written})
    found = lacking(facts(writes=writes))["table account"]
    assert found.message.startswith("cannot be aligned: its trigger touch is enabled ALWAYS")
    assert found.remedy == ('ALTER TABLE "public"."account" ENABLE TRIGGER "touch";',)


def test_tables_that_are_not_captured_are_listed() -> None:
    (found,) = [
        check for check in judge(facts(others=("log", "queue")), CaptureSettings()) if check.name == "other tables"
    ]
    assert "log, queue" in found.message


def test_table_that_was_created_again_is_not_in_the_publication() -> None:
    said = facts(table("score"), publication=PublicationState(("score_old",)))
    assert lacking(said)["captured score"].message == "it is not in the publication"


def test_table_of_another_role_is_not_altered() -> None:
    found = lacking(facts(table(owned=False, replica_identity=ReplicaIdentity.DEFAULT), former={7: "DEFAULT"}))
    assert not found["captured account"].applicable
    assert found["captured account"].remedy == (
        'ALTER TABLE "public"."account" REPLICA IDENTITY FULL;',
        """COMMENT ON PUBLICATION "shadow" IS 'replica identities before capture: {"7": "DEFAULT"}';""",
    )


def test_non_deferrable_foreign_key_is_a_warning() -> None:
    key = ForeignKey("stamp_account", ("account_id",), "account", ("id",), deferrable=False)
    said = facts(table(foreign_keys=(key,)))
    texts = [
        check.message
        for check in judge(said, CaptureSettings(tables=("account",)))
        if check.level is CheckLevel.WARNING
    ]
    assert texts == ["foreign keys that are not deferrable (stamp_account): parent rows are written first"]


def test_published_table_whose_writes_fail_has_its_own_message() -> None:
    found = lacking(facts(table(replica_identity=ReplicaIdentity.NOTHING)))["captured account"]
    assert found.message == "published, and its writes fail: its replica identity is NOTHING"


def test_option_for_generated_columns_comes_before_the_identity() -> None:
    made = Column("twice", "integer", generated=True, identity="", not_null=False)
    said = facts(table(columns=(made,), replica_identity=ReplicaIdentity.DEFAULT))
    names = [
        check.name for check in judge(said, CaptureSettings(tables=("account",))) if check.level is CheckLevel.FAILED
    ]
    assert names.index("publication") < names.index("captured account")


def test_generated_columns_need_nothing_before_version_18() -> None:
    made = Column("twice", "integer", generated=True, identity="", not_null=False)
    assert lacking(facts(table(columns=(made,)), version=17)) == {}


def test_publication_that_publishes_too_little_is_altered() -> None:
    state = PublicationState(("account",), publishes_all=False, filtered=("account",))
    found = lacking(facts(publication=state))
    assert found["publication"].remedy == (
        "ALTER PUBLICATION \"shadow\" SET (publish = 'insert, update, delete, truncate');",
    )
    assert found["captured account"].remedy == (
        'ALTER PUBLICATION "shadow" DROP TABLE "public"."account";',
        'ALTER PUBLICATION "shadow" ADD TABLE "public"."account";',
    )


def test_tables_that_do_not_exist_are_named() -> None:
    assert lacking(facts(missing=("nowhere",)))["tables"].message == "no such table: nowhere"


def test_capture_that_is_off_is_a_warning() -> None:
    (found,) = judge(facts(), CaptureSettings(driver=Driver.OFF))
    assert found.level is CheckLevel.WARNING


def test_each_statement_is_printed_once() -> None:
    remedy = ("ALTER ROLE x REPLICATION;",)
    checks = (Check("one", CheckLevel.FAILED, "a", remedy), Check("two", CheckLevel.FAILED, "b", remedy))
    assert command.render(checks).count("ALTER ROLE") == 1


def test_misspelled_setting_is_refused_with_its_path() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"\$\.slot"):
        msgspec.convert({"slot": {"kind": "temporary", "nam": "x"}}, CaptureSettings)


def test_publication_name_that_sql_would_fold_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="publication"):
        msgspec.convert({"publication": "Shadow;"}, CaptureSettings)
