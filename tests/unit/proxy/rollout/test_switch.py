"""The on-call switch: in memory first, latched, shared through a file, on when its file is damaged."""

from pathlib import Path

import pytest

from proxy.errors import SupersededError, SwitchError
from proxy.rollout import statefile
from proxy.rollout.switch import Switch


def switch(tmp_path: Path) -> Switch:
    made = Switch(tmp_path / "switch.json", tmp_path / "sentinel")
    made.load()
    return made


def test_nothing_is_rolled_back_at_first(tmp_path: Path) -> None:
    assert not switch(tmp_path).rolled_back


def test_rollback_survives_a_restart_with_its_reason(tmp_path: Path) -> None:
    switch(tmp_path).rollback(actor="me", reason="p99")
    again = switch(tmp_path)
    assert (again.rolled_back, again.state.actor, again.state.reason) == (True, "me", "p99")


def test_rollback_takes_effect_before_it_is_stored(tmp_path: Path) -> None:
    made, order = switch(tmp_path), list[bool]()
    made.on_change(lambda _: order.append((tmp_path / "switch.json").exists()))
    made.rollback(actor="me", reason="")
    assert order == [False]
    assert (tmp_path / "switch.json").exists()


def test_unstored_rollback_holds_and_is_stored_later(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    made = Switch(tmp_path / "file" / "switch.json", tmp_path / "sentinel")
    made.rollback(actor="me", reason="")
    assert (made.rolled_back, made.stored) == (True, False)
    (tmp_path / "file").unlink()
    made.poll()
    assert made.stored


def test_request_that_arrives_twice_is_one_rollback(tmp_path: Path) -> None:
    made = switch(tmp_path)
    first = made.rollback(actor="me", reason="first", identity="one")
    assert made.rollback(actor="me", reason="first", identity="one") == first


async def test_resume_of_one_rollback_does_not_end_the_next(tmp_path: Path) -> None:
    made = switch(tmp_path)
    first = made.rollback(actor="me", reason="first")
    made.rollback(actor="you", reason="second")
    with pytest.raises(SupersededError, match="newer rollback, by you"):
        await made.resume(actor="me", reason="", ends=first)
    assert made.rolled_back


async def test_resume_does_not_end_a_newer_rollback_that_only_the_disk_knows(tmp_path: Path) -> None:
    made = switch(tmp_path)
    made.rollback(actor="me", reason="first")
    switch(tmp_path).rollback(actor="you", reason="second")
    with pytest.raises(SupersededError, match="newer rollback, by you"):
        await made.resume(actor="me", reason="")
    assert switch(tmp_path).rolled_back


def test_file_can_be_replaced_many_times(tmp_path: Path) -> None:
    made, other = switch(tmp_path), switch(tmp_path)
    for number in range(5):
        made.rollback(actor="me", reason=str(number))
        other.poll()
        assert other.state == made.state


def test_process_does_not_wait_for_ever_for_a_lock(tmp_path: Path) -> None:
    made = switch(tmp_path)
    with statefile.locked(tmp_path / "switch.json"):
        made.rollback(actor="me", reason="")
        assert (made.rolled_back, made.stored) == (True, False)
    made.poll()
    assert made.stored


async def test_unstored_resume_does_not_take_effect(tmp_path: Path) -> None:
    made = switch(tmp_path)
    made.rollback(actor="me", reason="")
    (tmp_path / "switch.json").unlink()
    (tmp_path / "switch.json").mkdir()
    with pytest.raises(SwitchError):
        await made.resume(actor="me", reason="")
    assert made.rolled_back


def test_unreadable_state_file_counts_as_a_rollback(tmp_path: Path) -> None:
    (tmp_path / "switch.json").write_text("{")
    assert switch(tmp_path).rolled_back


async def test_two_processes_follow_each_other(tmp_path: Path) -> None:
    first, second = switch(tmp_path), switch(tmp_path)
    first.rollback(actor="me", reason="")
    second.poll()
    assert second.rolled_back
    await second.resume(actor="me", reason="")
    first.poll()
    assert not first.rolled_back


async def test_outdated_process_does_not_undo_a_newer_rollback(tmp_path: Path) -> None:
    behind, other = switch(tmp_path), switch(tmp_path)
    other.rollback(actor="a", reason="")
    await other.resume(actor="a", reason="")
    other.rollback(actor="a", reason="newest")
    behind.poll()
    assert behind.state.reason == "newest"
    assert behind.state.version == other.state.version


async def test_rollback_after_an_unseen_resume_holds(tmp_path: Path) -> None:
    first, behind = switch(tmp_path), switch(tmp_path)
    first.rollback(actor="a", reason="first")
    behind.poll()
    await first.resume(actor="a", reason="")
    behind.rollback(actor="a", reason="second")
    first.poll()
    behind.poll()
    assert (first.state.reason, behind.state.reason) == ("second", "second")
    assert first.rolled_back
    assert behind.rolled_back


async def test_sentinel_file_rolls_back(tmp_path: Path) -> None:
    made = switch(tmp_path)
    (tmp_path / "sentinel").touch()
    made.poll()
    assert made.rolled_back
    with pytest.raises(SwitchError, match="sentinel"):
        await made.resume(actor="me", reason="")
