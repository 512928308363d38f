"""Changes of the rollout: the order of storing and taking effect, and how the processes of a machine follow each other."""

import asyncio
from datetime import datetime
from pathlib import Path

import pytest

from comparator.stats.confidence import JudgementOutcome
from proxy.config.rollout import GroupSettings
from proxy.errors import (
    GatesClosedError,
    NotStoredError,
    RequestExpiredError,
    RolloutRefusedError,
    SettingsError,
    SupersededError,
)
from proxy.rollout import statefile
from proxy.rollout.assessment import Assessment
from proxy.rollout.audit import AuditEvent, verify
from proxy.rollout.control import ChangeRequest, Control
from proxy.rollout.state_machine import Phase
from tests.support.rollouts import control_in, force_outcome

ANN = ChangeRequest("ann", "because")


def phases(control: Control) -> set[Phase]:
    return {state.phase for state in control.replica.configured.values()}


async def test_open_gates_allow_a_promotion(tmp_path: Path) -> None:
    control = control_in(tmp_path)
    (state,) = await control.promote(ANN)
    assert (state.phase, state.step, state.actor) == (Phase.STEPPING, 1, "ann")


async def test_closed_gates_refuse_a_promotion_and_say_why(tmp_path: Path) -> None:
    control = control_in(tmp_path, outcome=JudgementOutcome.NOT_ENOUGH)
    with pytest.raises(GatesClosedError, match="mismatches: it is not_enough_evidence"):
        await control.promote(ANN)
    assert phases(control) == {Phase.SHADOWING}


async def test_forced_promotion_is_recorded_as_such(tmp_path: Path) -> None:
    control = control_in(tmp_path, outcome=JudgementOutcome.BAD)
    await control.promote(ChangeRequest("ann", "I know better", force=True))
    (link,) = await control.replica.history()
    assert link.entry.forced
    assert link.entry.evidence["outcome"] == "bad"


async def test_force_through_open_gates_is_not_recorded_as_forced(tmp_path: Path) -> None:
    control = control_in(tmp_path)
    await control.promote(ChangeRequest("ann", "", force=True))
    (link,) = await control.replica.history()
    assert not link.entry.forced


async def test_unstored_promotion_does_not_take_effect(tmp_path: Path) -> None:
    control = control_in(tmp_path, dsn="postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(NotStoredError):
        await control.promote(ANN)
    assert phases(control) == {Phase.SHADOWING}


async def test_rollback_takes_effect_before_it_is_stored(tmp_path: Path) -> None:
    control = control_in(tmp_path, dsn="postgresql://nobody@127.0.0.1:1/none")
    control.rollback(ANN)
    assert control.switch.rolled_back
    assert phases(control) == {Phase.ROLLING_BACK}
    assert [entry.event for entry in control.replica.pending.values()] == ["roll_back"]


async def test_stored_rollback_is_settled(tmp_path: Path) -> None:
    control = control_in(tmp_path)
    control.rollback(ANN)
    assert phases(control) == {Phase.ROLLED_BACK}


def test_rollback_works_without_a_writable_disk(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    control = control_in(tmp_path)
    control.replica._file.path = tmp_path / "file" / "state.json"
    control.switch._path = tmp_path / "file" / "switch.json"
    control.rollback(ANN)
    assert control.switch.rolled_back


async def test_rollback_survives_a_restart(tmp_path: Path) -> None:
    control_in(tmp_path).rollback(ANN)
    again = control_in(tmp_path)
    assert again.switch.rolled_back
    with pytest.raises(RolloutRefusedError, match="resume first"):
        await again.promote(ANN)


async def test_pending_rollback_survives_a_restart(tmp_path: Path) -> None:
    dsn = "postgresql://nobody@127.0.0.1:1/none"
    control_in(tmp_path, dsn=dsn).rollback(ChangeRequest("ann", "it burns"))
    (entry,) = control_in(tmp_path, dsn=dsn).replica.pending.values()
    assert (entry.actor, entry.reason) == ("ann", "it burns")


async def test_resume_returns_to_the_first_step(tmp_path: Path) -> None:
    control = control_in(tmp_path)
    await control.promote(ANN)
    control.rollback(ANN)
    (state,) = await control.resume(ANN)
    assert (state.phase, state.step, state.epoch) == (Phase.SHADOWING, 0, 2)
    assert not control.switch.rolled_back


async def test_resume_is_refused_while_the_sentinel_file_exists(tmp_path: Path) -> None:
    control = control_in(tmp_path)
    (tmp_path / "rollback").touch()
    control.switch.poll()
    assert phases(control) == {Phase.ROLLED_BACK}
    with pytest.raises(Exception, match=r"remove .*rollback first"):
        await control.resume(ANN)
    assert phases(control) == {Phase.ROLLED_BACK}


async def test_pause_keeps_the_step(tmp_path: Path) -> None:
    control = control_in(tmp_path)
    await control.promote(ANN)
    await control.pause(ANN)
    with pytest.raises(RolloutRefusedError, match="paused"):
        await control.promote(ANN)
    (state,) = await control.resume(ANN)
    assert (state.phase, state.step) == (Phase.STEPPING, 1)


async def test_other_process_follows_a_rollback_and_its_end(tmp_path: Path) -> None:
    first, second = control_in(tmp_path), control_in(tmp_path)
    first.rollback(ANN)
    second.replica.poll_file()
    assert second.switch.rolled_back
    await first.resume(ANN)
    second.replica.poll_file()
    assert not second.switch.rolled_back
    assert phases(second) == {Phase.SHADOWING}


async def test_switch_file_alone_rolls_back_another_process(tmp_path: Path) -> None:
    first, second = control_in(tmp_path), control_in(tmp_path)
    first.rollback(ANN)
    (tmp_path / "rollout.json").unlink()
    second.switch.poll()
    assert phases(second) == {Phase.ROLLED_BACK}
    assert len(await first.replica.history()) == 1


async def test_outdated_switch_follows_a_resume_it_missed(
    tmp_path: Path,
) -> None:
    """One process was rolled back while cut off, in an epoch that the others have left since."""
    here, there = control_in(tmp_path / "here"), control_in(tmp_path / "there")
    here.rollback(ANN)
    there.rollback(ANN)
    await there.resume(ANN)
    here.replica.apply(there.replica.states)
    assert not here.switch.rolled_back
    assert phases(here) == {Phase.SHADOWING}


async def test_rollback_while_cut_off_wins_over_later_promotions(tmp_path: Path) -> None:
    here, there = control_in(tmp_path / "here"), control_in(tmp_path / "there")
    await there.promote(ANN)
    await there.promote(ANN)
    here.rollback(ANN)
    there.replica.apply(here.replica.states)
    assert there.switch.rolled_back
    assert phases(there) == {Phase.ROLLED_BACK}


async def test_change_of_an_outdated_state_is_refused(tmp_path: Path) -> None:
    first, second = control_in(tmp_path), control_in(tmp_path)
    known = second.replica.states["all"]
    await first.promote(ANN)
    with pytest.raises(SupersededError):
        await second.replica.store_first([(known, known)], [])


async def test_one_group_rolls_back_alone(tmp_path: Path) -> None:
    control = control_in(tmp_path, groups=(GroupSettings("reads", ("score",)),))
    control.rollback(ChangeRequest("ann", "", group="reads"))
    assert not control.switch.rolled_back
    assert control.replica.states["reads"].phase is Phase.ROLLED_BACK
    assert control.replica.states["all"].phase is Phase.SHADOWING


async def test_group_cannot_resume_alone_after_a_full_rollback(tmp_path: Path) -> None:
    control = control_in(tmp_path, groups=(GroupSettings("reads", ("score",)),))
    control.rollback(ANN)
    with pytest.raises(RolloutRefusedError, match="resume without a group"):
        await control.resume(ChangeRequest("ann", "", group="reads"))


async def test_unknown_group_is_named_with_the_existing_ones(tmp_path: Path) -> None:
    with pytest.raises(RolloutRefusedError, match="no group 'x': all"):
        await control_in(tmp_path).promote(ChangeRequest("ann", "", group="x"))


async def test_disabled_rollout_allows_only_rollback_and_resume(tmp_path: Path) -> None:
    control = control_in(tmp_path, enabled=False)
    with pytest.raises(RolloutRefusedError, match=r"rollout\.enabled is false"):
        await control.promote(ANN)
    control.rollback(ANN)
    await control.resume(ANN)
    assert not control.switch.rolled_back


async def test_every_change_is_one_entry_of_an_intact_chain(tmp_path: Path) -> None:
    control = control_in(tmp_path)
    await control.promote(ANN)
    await control.pause(ANN)
    for identity in ("one", "one", "two"):
        control.rollback(ChangeRequest("bob", "mismatches", finding="abc123", id=identity))
    await control.resume(ANN)
    links = await control.replica.history()
    assert [link.entry.event for link in links] == ["promote", "pause", "roll_back", "roll_back", "resume"]
    assert links[2].entry.finding == "abc123"
    assert verify(links).fault is None


async def test_gates_are_judged_again_for_each_promotion(tmp_path: Path) -> None:
    control = control_in(tmp_path)
    await control.promote(ANN)
    force_outcome(control, JudgementOutcome.BAD)
    with pytest.raises(GatesClosedError):
        await control.promote(ANN)


async def test_damaged_state_file_starts_with_the_legacy(tmp_path: Path) -> None:
    (tmp_path / "rollout.json").write_text("{")
    control = control_in(tmp_path)
    assert phases(control) == {Phase.SHADOWING}


def test_saving_keeps_entries_of_other_processes(tmp_path: Path) -> None:
    first = control_in(tmp_path, dsn="postgresql://nobody@127.0.0.1:1/none")
    first.note(AuditEvent.GATE_FAILED, ChangeRequest("controller", id="a"))
    second = control_in(tmp_path, dsn="postgresql://nobody@127.0.0.1:1/none")
    second.note(AuditEvent.GATE_FAILED, ChangeRequest("controller", id="b"))
    assert [entry.id for entry in statefile.read_states(tmp_path / "rollout.json").pending] == ["a", "b"]


async def test_rollout_under_way_refuses_another_salt(tmp_path: Path) -> None:
    await control_in(tmp_path, salt="one").promote(ANN)
    with pytest.raises(SettingsError, match=r"serve\.salt"):
        control_in(tmp_path, salt="other")
    assert control_in(tmp_path, salt="one").replica.states["all"].step == 1


async def test_resumed_rollout_may_have_another_salt(tmp_path: Path) -> None:
    control = control_in(tmp_path, salt="one")
    await control.promote(ANN)
    control.rollback(ANN)
    control_in(tmp_path, salt="other")
    await control.resume(ANN)
    (state,) = await control_in(tmp_path, salt="other").promote(ANN)
    assert state.salt == "other"


async def test_two_operators_who_promote_from_one_step_move_one_step(tmp_path: Path) -> None:
    control = control_in(tmp_path)
    seen = control.revision
    await control.promote(ChangeRequest("ann", "", decided_on=seen))
    with pytest.raises(SupersededError, match=r"all has changed since .* step 1, by ann"):
        await control.promote(ChangeRequest("bob", "", decided_on=seen))
    with pytest.raises(SupersededError, match="not at step 0 any more"):
        await control.promote(ChangeRequest("bob", "", from_step=0))
    assert control.replica.states["all"].step == 1


async def test_promotions_under_way_at_the_same_time_move_one_step(tmp_path: Path) -> None:
    control = control_in(tmp_path)
    judged, assess = asyncio.Event(), control.assess
    assert assess

    async def slowly(group: str) -> Assessment:
        await judged.wait()
        return await assess(group)

    control.assess = slowly
    promotions = asyncio.gather(control.promote(ANN), control.promote(ChangeRequest("bob")), return_exceptions=True)
    await asyncio.sleep(0)
    judged.set()
    first, second = await promotions
    assert not isinstance(first, BaseException)
    assert isinstance(second, SupersededError)
    assert control.replica.states["all"].step == 1


async def test_promotions_of_two_processes_move_one_step(tmp_path: Path) -> None:
    first, second = control_in(tmp_path), control_in(tmp_path)
    seen = second.revision
    await first.promote(ANN)
    with pytest.raises(SupersededError):
        await second.promote(ChangeRequest("bob", decided_on=seen))


async def test_change_of_another_group_is_no_conflict(tmp_path: Path) -> None:
    control = control_in(tmp_path, groups=(GroupSettings("reads", ("score",)),))
    seen = control.revision
    await control.promote(ChangeRequest("ann", group="reads"))
    await control.promote(ChangeRequest("bob", group="all", decided_on=seen))


async def test_resume_decided_before_the_rollback_was_made_is_refused(tmp_path: Path) -> None:
    control = control_in(tmp_path)
    control.rollback(ANN)
    rolled_back_at = datetime.fromisoformat(control.switch.state.at).timestamp()
    with pytest.raises(SupersededError, match="rolled back by ann"):
        await control.resume(ChangeRequest("bob", decided_at=rolled_back_at - 1))
    assert control.switch.rolled_back
    await control.resume(ChangeRequest("bob", decided_at=rolled_back_at + 1))
    assert not control.switch.rolled_back


async def test_resume_decided_on_before_the_latest_rollback_is_refused(tmp_path: Path) -> None:
    control = control_in(tmp_path)
    control.rollback(ANN)
    seen = control.revision
    control.rollback(ChangeRequest("bob", "still wrong"))
    with pytest.raises(SupersededError, match="changed since this was decided: rolled_back, step 0, by bob"):
        await control.resume(ChangeRequest("ann", decided_on=seen))
    assert control.switch.rolled_back


async def test_expired_resume_changes_nothing(tmp_path: Path) -> None:
    control = control_in(tmp_path)
    control.rollback(ANN)
    with pytest.raises(RequestExpiredError):
        await control.resume(ChangeRequest("ann", expires_at=control.now.timestamp() - 1))
    assert control.switch.rolled_back
    assert [link.entry.event for link in await control.replica.history()] == ["roll_back"]


async def test_rollback_by_a_command_while_a_resume_is_under_way_holds(tmp_path: Path) -> None:
    """The resume has been decided, and the rollback is stored before the resume is."""
    control = control_in(tmp_path)
    control.rollback(ANN)
    check = control.switch.check_resumable

    async def rolled_back_meanwhile() -> None:
        await check()
        control_in(tmp_path).rollback(ChangeRequest("bob", "still wrong"))

    control.switch.check_resumable = rolled_back_meanwhile  # type: ignore[method-assign]
    with pytest.raises(SupersededError):
        await control.resume(ANN)
    assert control.switch.rolled_back
    assert control_in(tmp_path).switch.state.reason == "still wrong"


async def test_rollback_that_a_resume_elsewhere_did_not_know_outlives_it(tmp_path: Path) -> None:
    here, there = control_in(tmp_path / "here"), control_in(tmp_path / "there")
    here.rollback(ANN)
    there.replica.apply(here.replica.states)
    await there.resume(ANN)
    here.rollback(ChangeRequest("bob", "still wrong"))
    here.replica.apply(there.replica.states)
    there.replica.apply(here.replica.states)
    assert (here.switch.rolled_back, there.switch.rolled_back) == (True, True)
    assert (there.replica.states["all"].epoch, there.switch.state.reason) == (2, "still wrong")
