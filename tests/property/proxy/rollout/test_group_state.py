"""Merging states is a join: order, repetition and grouping do not matter, and a rollback is never lost."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from proxy.rollout.group_state import ChangeCause, GroupState, apply_event, initial_states, merge_states, newer_states
from proxy.rollout.state_machine import Event, Phase, Refusal

START = datetime(2026, 1, 1, tzinfo=UTC)
times = st.integers(0, 100).map(lambda s: START + timedelta(seconds=s))
group_states = st.builds(
    GroupState,
    group=st.just("all"),
    phase=st.sampled_from(Phase),
    step=st.integers(0, 7),
    epoch=st.integers(1, 3),
    version=st.integers(0, 4),
    at=times,
    rollback=st.integers(0, 9),
).map(lambda state: state if state.phase.latched else replace(state, rollback=3 * (state.epoch - 1)))
"""States of one history, in which each epoch began with one resume."""
states = st.dictionaries(st.sampled_from(["a", "b", "c"]), group_states, max_size=3)


def ranks(states: dict[str, GroupState]) -> dict[str, object]:
    return {name: state.rank for name, state in states.items()}


@given(states, states)
def test_merging_does_not_depend_on_the_order(one: dict[str, GroupState], other: dict[str, GroupState]) -> None:
    assert ranks(merge_states(one, other)) == ranks(merge_states(other, one))


@given(states, states, states)
def test_merging_does_not_depend_on_the_grouping(
    a: dict[str, GroupState], b: dict[str, GroupState], c: dict[str, GroupState]
) -> None:
    assert ranks(merge_states(merge_states(a, b), c)) == ranks(merge_states(a, merge_states(b, c)))


@given(states)
def test_merging_with_itself_changes_nothing(one: dict[str, GroupState]) -> None:
    assert merge_states(one, one) == one
    assert newer_states(one, one) == {}


@given(group_states, group_states)
def test_rollback_wins_over_every_other_state_of_its_epoch(one: GroupState, other: GroupState) -> None:
    rolled_back = {"all": GroupState(phase=Phase.ROLLED_BACK, epoch=other.epoch, version=one.version, at=one.at)}
    assert merge_states(rolled_back, {"all": other})["all"].phase.latched


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(Event), st.booleans()), max_size=60))
def test_proxies_that_exchange_states_agree_and_keep_every_rollback(
    script: list[tuple[int, Event, bool]],
) -> None:
    """Four proxies change their own copy and receive another's at times; a rollback holds unless a resume knew of it, or of a newer one."""
    copies = [initial_states(["all"]) for _ in range(4)]
    resumed: set[tuple[int, int]] = set()
    rolled_back: set[tuple[int, int]] = set()
    for moment, (which, event, exchange) in enumerate(script):
        before = copies[which]["all"]
        cause = ChangeCause(f"proxy {which}", "", START + timedelta(seconds=moment))
        changed = apply_event(before, event, cause, last_step=7)
        if not isinstance(changed, Refusal):
            (rolled_back if changed.phase.latched else resumed).add((changed.epoch, changed.rollback))
            copies[which] = {"all": changed}
        if exchange:
            other = (which + 1) % 4
            copies[other] = merge_states(copies[other], copies[which])
    together = initial_states(["all"])
    for copy in copies:
        together = merge_states(together, copy)
    final = together["all"]
    # Safety: a rollback that no resume knew of holds. Liveness: one that every later resume knew of does not. Where proxies that were cut
    # off from each other have ended different rollbacks of one epoch, the one that not all of them knew of may hold.
    for epoch, number in rolled_back:
        knew = [known >= number for later, known in resumed if later > epoch]
        assert any(knew) or final.phase.latched
    ended = all(
        epoch < final.epoch and all(known >= number for later, known in resumed if later > epoch)
        for epoch, number in rolled_back
    )
    assert not (ended and final.phase.latched)


@given(group_states, st.sampled_from(Event), times)
def test_every_change_supersedes_what_it_changed(state: GroupState, event: Event, at: datetime) -> None:
    changed = apply_event(state, event, ChangeCause("a", "b", at), last_step=7)
    assert isinstance(changed, Refusal) or changed.rank > state.rank


@given(st.lists(st.sampled_from([Event.ROLL_BACK, Event.SETTLED, Event.PAUSE]), max_size=6))
def test_resume_ends_no_rollback_that_it_does_not_know(later: list[Event]) -> None:
    """One proxy resumes while another one, cut off, goes on: a rollback there outlives the resume, anything else does not."""
    cause = ChangeCause("a", "b", START)

    def after(state: GroupState, event: Event) -> GroupState:
        changed = apply_event(state, event, cause, last_step=7)
        return state if isinstance(changed, Refusal) else changed

    common = after(GroupState(), Event.ROLL_BACK)
    resumed, cut_off = after(common, Event.RESUME), common
    for event in later:
        cut_off = after(cut_off, event)
    merged = merge_states({"all": cut_off}, {"all": resumed})["all"]
    assert merged.phase.latched == (Event.ROLL_BACK in later)
    assert merged.epoch == resumed.epoch
