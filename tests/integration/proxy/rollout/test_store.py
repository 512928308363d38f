"""The rollout's states in a real database: several processes, an outage, an outdated writer, the audit log."""

import asyncio
import dataclasses
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from proxy.errors import SupersededError
from proxy.rollout import store
from proxy.rollout.audit import AuditEvent, verify
from proxy.rollout.control import ChangeRequest, Control
from proxy.rollout.group_state import GroupState
from proxy.rollout.state_machine import Phase
from tests.support.postgres import with_database
from tests.support.rollouts import START, control_in
from tests.support.waiting import until

WAIT_S = 60.0
ANN = ChangeRequest("ann", "because")
AT_ZERO = dataclasses.replace(ANN, from_step=0)
"""The same, decided on a rollout that has not begun."""


@asynccontextmanager
async def process(folder: Path, dsn: str, *, poll_s: float = 0.2) -> AsyncGenerator[Control]:
    """A connected process with a disk of its own."""
    control = control_in(folder, dsn=dsn, poll_s=poll_s)
    task: asyncio.Task[None]
    async with asyncio.TaskGroup() as group:
        task = group.create_task(control.replica.run(), name="replica")
        await until(lambda: control.replica.connected)
        yield control
        task.cancel()


def phase(control: Control) -> Phase:
    return control.replica.states["all"].phase


async def test_rollback_reaches_a_process_on_another_machine(database: str, tmp_path: Path) -> None:
    async with process(tmp_path / "a", database) as here, process(tmp_path / "b", database) as there:
        here.rollback(ANN)
        await until(lambda: there.switch.rolled_back)
        await until(lambda: phase(here) is phase(there) is Phase.ROLLED_BACK)


async def test_notification_arrives_before_the_next_poll(database: str, tmp_path: Path) -> None:
    """Both would poll only after ten minutes."""
    async with (
        process(tmp_path / "a", database, poll_s=600) as here,
        process(tmp_path / "b", database, poll_s=600) as there,
    ):
        here.rollback(ANN)
        await until(lambda: there.switch.rolled_back)


async def test_polling_finds_changes_without_notification(database: str, tmp_path: Path) -> None:
    async with process(tmp_path / "a", database) as here, process(tmp_path / "b", database) as there:
        conn = await asyncpg.connect(database)
        try:
            await conn.execute("ALTER TABLE shadow.rollout_state DISABLE TRIGGER announce")
        finally:
            await conn.close()
        here.rollback(ANN)
        await until(lambda: there.switch.rolled_back)


async def test_another_process_takes_over_the_lead(database: str, tmp_path: Path) -> None:
    async with process(tmp_path / "b", database) as there:
        async with process(tmp_path / "a", database) as here:
            assert [
                await here.replica.is_leader(),
                await there.replica.is_leader(),
                await here.replica.is_leader(),
            ] == [
                True,
                False,
                True,
            ]
        async with asyncio.timeout(WAIT_S):
            while not await there.replica.is_leader():
                await asyncio.sleep(0.01)


async def test_promotion_is_stored_when_it_takes_effect(database: str, tmp_path: Path) -> None:
    async with process(tmp_path / "a", database) as here:
        await here.promote(ANN)
        conn = await asyncpg.connect(database)
        try:
            assert (await store.read_states(conn))["all"] == here.replica.states["all"]
        finally:
            await conn.close()


async def test_of_two_promotions_at_once_only_one_takes_effect(database: str, tmp_path: Path) -> None:
    async with process(tmp_path / "a", database) as here, process(tmp_path / "b", database) as there:
        results = await asyncio.gather(here.promote(AT_ZERO), there.promote(AT_ZERO), return_exceptions=True)
        assert sorted(isinstance(result, SupersededError) for result in results) == [False, True]
        await until(lambda: here.replica.states == there.replica.states)
        assert here.replica.states["all"].step == 1


async def test_outdated_writer_undoes_nothing(database: str, tmp_path: Path) -> None:
    async with process(tmp_path / "a", database) as here:
        old = here.replica.states["all"]
        here.rollback(ANN)
        await until(lambda: phase(here) is Phase.ROLLED_BACK)
        conn = await asyncpg.connect(database)
        try:
            ahead = GroupState(phase=Phase.PROMOTED, step=2, version=old.version + 9, at=START)
            assert not await store.put_state(conn, ahead)
            assert not await store.replace_state(conn, ahead, old)
            assert (await store.read_states(conn))["all"].phase is Phase.ROLLED_BACK
        finally:
            await conn.close()


async def test_rollback_during_an_outage_is_stored_after_it(database: str, tmp_path: Path) -> None:
    admin = await asyncpg.connect(with_database(database, "postgres"))
    name = urlsplit(database).path.lstrip("/")
    try:
        async with process(tmp_path / "a", database) as here, process(tmp_path / "b", database) as there:
            await there.promote(ANN)
            await admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
            await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
            await until(lambda: not here.replica.connected)
            here.rollback(ChangeRequest("ann", "it burns"))
            assert here.switch.rolled_back
            assert not there.switch.rolled_back
            await admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
            await until(lambda: there.switch.rolled_back)
            links = await there.replica.history()
            assert [(link.entry.event, link.entry.reason) for link in links] == [
                ("promote", "because"),
                ("roll_back", "it burns"),
            ]
    finally:
        await admin.close()


async def test_resume_reaches_every_process(database: str, tmp_path: Path) -> None:
    async with process(tmp_path / "a", database) as here, process(tmp_path / "b", database) as there:
        here.rollback(ANN)
        await until(lambda: there.switch.rolled_back)
        await until(lambda: phase(there) is Phase.ROLLED_BACK)
        await there.resume(ANN)
        await until(lambda: not here.switch.rolled_back)
        assert phase(here) is Phase.SHADOWING


async def test_late_process_learns_of_the_rollback(database: str, tmp_path: Path) -> None:
    async with process(tmp_path / "a", database) as here:
        here.rollback(ANN)
        await until(lambda: phase(here) is Phase.ROLLED_BACK)
    async with process(tmp_path / "late", database) as late:
        assert late.switch.rolled_back


async def test_log_cannot_be_changed(database: str, tmp_path: Path) -> None:
    async with process(tmp_path / "a", database) as here:
        await here.promote(ANN)
        conn = await asyncpg.connect(database)
        try:
            with pytest.raises(asyncpg.RaiseError, match="append-only"):
                await conn.execute("UPDATE shadow.rollout_audit SET body = ''")
            with pytest.raises(asyncpg.RaiseError, match="append-only"):
                await conn.execute("DELETE FROM shadow.rollout_audit")
        finally:
            await conn.close()


async def test_log_of_many_writers_is_one_intact_chain(database: str, tmp_path: Path) -> None:
    async with process(tmp_path / "a", database) as here, process(tmp_path / "b", database) as there:
        for number in range(10):
            here.note(AuditEvent.GATE_FAILED, ChangeRequest("controller", str(number)))
            there.note(AuditEvent.GATE_FAILED, ChangeRequest("controller", str(number)))
        await until(lambda: not here.replica.pending and not there.replica.pending)
        links = await here.replica.history()
        assert len(links) == 20
        assert verify(links).fault is None
