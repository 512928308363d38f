"""The rollout screen: how long a group was at each step, and a page of the audit chain."""

import datetime as dt

from proxy.config.rollout import GateSettings, RolloutSettings
from proxy.rollout.audit import AuditEntry, AuditEvent, ChainLink, chain_entry
from proxy.rollout.group_state import GroupState
from proxy.rollout.state_machine import Phase
from proxy.ui.parts import ProxyPart
from proxy.ui.rollout import chain_of, proxy_share, step_notes, step_text

NOW = dt.datetime(2026, 11, 30, 4, 0, tzinfo=dt.UTC)
SETTINGS = RolloutSettings(steps=(0.0, 5.0, 25.0, 100.0), gates=GateSettings(time_min_s=60))
STEPS = [GroupState(step=step, phase=Phase.STEPPING) for step in range(4)]
BACK = GroupState(step=2, phase=Phase.ROLLED_BACK)


def chain() -> list[ChainLink]:
    """Return a chain: begun, promoted twice by force, a gate failed, rolled back, resumed."""
    entries = [
        AuditEntry("1", NOW, "", AuditEvent.BEGIN, "controller", after=STEPS[0]),
        AuditEntry("2", after(90), "", AuditEvent.PROMOTE, "ada", forced=True, before=STEPS[0], after=STEPS[1]),
        AuditEntry("3", after(91), "", AuditEvent.PROMOTE, "ada", before=STEPS[1], after=STEPS[2]),
        AuditEntry("4", after(95), "", AuditEvent.GATE_FAILED, "controller", before=STEPS[2], after=STEPS[2]),
        AuditEntry("5", after(100), "", AuditEvent.ROLL_BACK, "controller", before=STEPS[2], after=BACK),
    ]
    links: list[ChainLink] = []
    for entry in entries:
        links.append(chain_entry(entry, links[-1] if links else None))
    return links


def after(seconds: int) -> dt.datetime:
    return NOW + dt.timedelta(seconds=seconds)


def test_steps_show_how_long_they_lasted_and_how_they_were_left() -> None:
    notes = step_notes(chain(), "all", SETTINGS, after(200))
    assert notes == {0: "1 min 30 s, left by force", 1: "1 s", 2: "9 s"}


def test_present_step_shows_its_time_of_the_time_it_needs() -> None:
    assert step_notes(chain()[:2], "all", SETTINGS, after(133))[1] == "43 s of 1 min"


def test_steps_of_another_group_are_not_shown() -> None:
    assert step_notes(chain(), "reads", SETTINGS, after(200)) == {}


def test_page_of_the_chain_begins_with_the_newest_entry() -> None:
    page = chain_of(chain(), SETTINGS, limit=2)
    assert [entry.sequence for entry in page.entries] == [5, 4]
    assert (page.older, page.verification.entries, page.verification.fault) == (4, 5, None)
    last = chain_of(chain(), SETTINGS, limit=9, before=4)
    assert ([entry.sequence for entry in last.entries], last.older) == ([3, 2, 1], None)


def test_changed_entry_breaks_the_chain() -> None:
    links = chain()
    links[1] = ChainLink(2, links[1].body.replace("ada", "eve"), links[1].previous, links[1].hash)
    assert chain_of(links, SETTINGS, limit=9).verification.fault is not None


def test_change_is_written_as_shares() -> None:
    assert [step_text(link.entry, SETTINGS) for link in chain()] == ["0 %", "0 → 5 %", "5 → 25 %", "25 %", "25 → 0 %"]


def test_share_of_a_proxy_is_that_of_its_own_requests() -> None:
    status = {"candidate_share": 0.25, "served_under_split": {"candidate": 20, "legacy": 80}}
    answering = proxy_share(ProxyPart("proxy-1", "127.0.0.1:1", status), alpha=0.01)
    assert (answering.share, answering.served) == (0.25, (20, 80))
    assert answering.interval is not None
    assert answering.interval.low < 0.2 < answering.interval.high
    silent = proxy_share(ProxyPart("proxy-2", "127.0.0.1:2", None, "refused"), alpha=0.01)
    assert (silent.share, silent.error, silent.interval) == (None, "refused", None)
