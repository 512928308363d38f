"""proxy.runner.shadow_state: exchanges on rows that differ are excluded until a resync has made them equal."""

import pytest
from prometheus_client import CollectorRegistry

from comparator.capture.attribution import Claim, KeyedTransaction
from comparator.capture.attribution_keys import Key, RowId
from comparator.exchanges.model import EffectsOutcome, Exchange, Request, Response, Role, Side
from comparator.exchanges.row_changes import Transaction
from proxy.runner.ledger import MirrorRun
from proxy.runner.metrics import RunnerMetrics
from proxy.runner.no_capture import EmptyFeed
from proxy.runner.shadow_state import DRIFTED_MAX, ResyncReason, ShadowState
from proxy.runner.skip_causes import RunnerSkip

ROW, OTHER = ("score", ("7",)), ("event", ("7",))
ADDRESS, ANOTHER = ("address", "0xa1"), ("address", "0xb2")


@pytest.fixture
def state() -> ShadowState:
    return ShadowState({role: EmptyFeed() for role in Role}, RunnerMetrics(CollectorRegistry()))


def run(*, keys: tuple[Key, ...] = (), rows: tuple[RowId, ...] = ()) -> MirrorRun:
    keyed = KeyedTransaction(Transaction(1, 1, 1, 1, ()), frozenset(keys), frozenset(rows))
    exchange = Exchange("x", "r", "", Side.LEGACY, "", 0, 1, Request("GET", "/", (), b""), Response(200, (), b""))
    return MirrorRun(1, exchange, Claim(EffectsOutcome.ATTRIBUTED, (keyed,), frozenset(keys)))


def test_exchanges_on_a_drifted_row_or_its_keys_are_excluded(state: ShadowState) -> None:
    assert state.add_drifted([ROW], [ADDRESS])
    assert state.quarantine_of(run(keys=(ADDRESS,))) is RunnerSkip.DRIFTED
    assert state.quarantine_of(run(rows=(ROW,))) is RunnerSkip.DRIFTED
    assert state.quarantine_of(run(keys=(ANOTHER,), rows=(OTHER,))) is None


def test_resync_of_its_table_includes_a_row_again(state: ShadowState) -> None:
    state.add_drifted([ROW, OTHER], [ADDRESS])
    state.end_drift({"score"}, ())
    assert state.quarantine_of(run(rows=(ROW,))) is None
    assert state.quarantine_of(run(rows=(OTHER,))) is RunnerSkip.DRIFTED
    state.end_drift(None, ())
    assert state.quarantine_of(run(keys=(ADDRESS,), rows=(OTHER,))) is None


def test_row_that_a_resync_did_not_mend_stays_excluded_and_asks_for_no_other(state: ShadowState) -> None:
    state.add_drifted([ROW], [ADDRESS])
    state.end_drift(None, [ROW])
    assert state.quarantine_of(run(keys=(ADDRESS,))) is RunnerSkip.DRIFTED
    assert not state.add_drifted([ROW], [ADDRESS])


def test_repaired_row_is_included_again(state: ShadowState) -> None:
    state.add_drifted([ROW, OTHER], [ADDRESS])
    state.end_drift_of([ROW, ("score", ("8",))])
    assert state.quarantine_of(run(rows=(ROW,))) is None
    assert state.quarantine_of(run(rows=(OTHER,))) is RunnerSkip.DRIFTED


def test_too_many_drifted_rows_need_a_clone(state: ShadowState) -> None:
    state.add_drifted([("score", (str(n),)) for n in range(DRIFTED_MAX + 1)], [])
    assert state.needs_clone


def test_requested_resyncs_of_tables_add_up(state: ShadowState) -> None:
    state.request_resync(ResyncReason.DRIFT, tables={"score"})
    state.request_resync(ResyncReason.DRIFT, tables={"event"})
    assert state.resync_tables == {"score", "event"}
    state.request_resync(ResyncReason.ERROR)
    state.request_resync(ResyncReason.DRIFT, tables={"score"})
    assert state.resync_tables is None
