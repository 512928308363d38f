"""The figures of the overview: the accounting, the stages, the bins."""

import datetime as dt

import pytest

from comparator.exchanges.number_ranges import NumberRanges
from comparator.store.ended import EndedAs, EndedTotal
from proxy.config.rollout import RolloutSettings
from proxy.journal.reconciliation import WriterAccount
from proxy.rollout.audit import AuditEntry, AuditEvent, ChainLink, chain_entry
from proxy.rollout.group_state import GroupState
from proxy.rollout.state_machine import Phase
from proxy.ui.overview import accounting_of, bin_length_s, stages_of
from proxy.ui.parts import ExchangeAccounts

NOW = dt.datetime(2026, 11, 30, 4, 0, tzinfo=dt.UTC)
SETTINGS = RolloutSettings(steps=(0.0, 5.0, 25.0, 100.0))
NONE = NumberRanges()


def writer(*, ended: int, in_flight: int = 0, missing: NumberRanges = NONE) -> WriterAccount:
    return WriterAccount("w0", 0, NONE, 0, in_flight, ended, missing)


def totals(**counts: int) -> tuple[EndedTotal, ...]:
    kinds = {
        "match": EndedAs.COMPARED,
        "known": EndedAs.COMPARED,
        "mismatch": EndedAs.COMPARED,
        "slow": EndedAs.SKIPPED,
        "dropped": EndedAs.UNREAD,
        "timeout": EndedAs.FAILED,
    }
    return tuple(EndedTotal("w0", kinds[cause], cause, count) for cause, count in counts.items())


def test_bar_closes_when_every_exchange_has_an_outcome_or_is_in_flight() -> None:
    accounts = ExchangeAccounts(
        (writer(ended=22, in_flight=2),), totals(match=10, known=2, mismatch=3, slow=4, dropped=2, timeout=1)
    )
    panel = accounting_of(accounts, {"policy": 6})
    assert {part.name: part.count for part in panel.parts} == {
        "match": 12,
        "mismatch": 3,
        "skipped": 10,
        "dropped": 2,
        "failed": 1,
        "in flight": 2,
    }
    assert (panel.served, panel.sum, panel.closes) == (30, 30, True)


def test_missing_exchanges_keep_the_bar_open_and_are_numbered() -> None:
    accounts = ExchangeAccounts((writer(ended=10, missing=NumberRanges.of(4, 6)),), totals(match=10))
    panel = accounting_of(accounts, {})
    assert (panel.served, panel.sum, panel.lost, panel.closes) == (13, 10, 3, False)
    assert panel.writers[0].numbers == str(NumberRanges.of(4, 6))


def test_outcomes_that_contradict_the_numbers_keep_the_bar_open() -> None:
    panel = accounting_of(ExchangeAccounts((writer(ended=10),), totals(match=9)), {})
    assert (panel.lost, panel.closes) == (0, False)


def links(*changes: tuple[int, AuditEvent, GroupState, GroupState]) -> list[ChainLink]:
    chain: list[ChainLink] = []
    for number, (minute, event, before, after) in enumerate(changes):
        at = NOW + dt.timedelta(minutes=minute)
        entry = AuditEntry(str(number), at, "", event, "ada", before=before, after=after)
        chain.append(chain_entry(entry, chain[-1] if chain else None))
    return chain


STEPS = [GroupState(step=step, phase=Phase.STEPPING) for step in range(4)]
BACK = GroupState(step=2, phase=Phase.ROLLED_BACK)


def test_stages_are_the_shares_between_changes() -> None:
    chain = links(
        (1, AuditEvent.PROMOTE, STEPS[0], STEPS[1]),
        (2, AuditEvent.PROMOTE, STEPS[1], STEPS[2]),
        (3, AuditEvent.ROLL_BACK, STEPS[2], BACK),
    )
    pieces = stages_of(chain, SETTINGS, NOW, NOW + dt.timedelta(minutes=5))
    assert [(piece.percent, piece.rolled_back) for piece in pieces] == [(0, False), (5, False), (25, False), (0, True)]
    assert [piece.begins.minute for piece in pieces] == [0, 1, 2, 3]
    assert [piece.ends.minute for piece in pieces] == [1, 2, 3, 5]


def test_change_before_the_time_range_is_the_share_at_its_begin() -> None:
    chain = links((-9, AuditEvent.PROMOTE, STEPS[0], STEPS[1]), (-8, AuditEvent.PROMOTE, STEPS[1], STEPS[2]))
    (piece,) = stages_of(chain, SETTINGS, NOW, NOW + dt.timedelta(minutes=5))
    assert (piece.percent, piece.begins) == (25, NOW)


def test_there_are_no_stages_without_changes() -> None:
    assert stages_of([], SETTINGS, NOW, NOW + dt.timedelta(minutes=5)) == ()


@pytest.mark.parametrize(("minutes", "seconds"), [(15, 10), (60, 60), (360, 300), (1_440, 1_800), (10_080, 10_800)])
def test_chart_has_at_most_ninety_bins(minutes: int, seconds: int) -> None:
    assert bin_length_s(dt.timedelta(minutes=minutes)) == seconds


def test_changes_that_keep_the_share_are_one_stage() -> None:
    chain = links(
        (1, AuditEvent.BEGIN, STEPS[0], STEPS[0]),
        (2, AuditEvent.PROMOTE, STEPS[0], STEPS[1]),
        (3, AuditEvent.PAUSE, STEPS[1], STEPS[1]),
    )
    pieces = stages_of(chain, SETTINGS, NOW, NOW + dt.timedelta(minutes=5))
    assert [(piece.percent, piece.begins.minute, piece.ends.minute) for piece in pieces] == [(0, 0, 2), (5, 2, 5)]
