"""The rollout's state without a running proxy: from this machine's files, and the database when it answers."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

from proxy.config.settings import Settings
from proxy.errors import NotStoredError
from proxy.rollout import store
from proxy.rollout.control import Control
from proxy.rollout.replica import TIMEOUT_S, Replica
from proxy.rollout.service import groups_of, with_files
from proxy.rollout.switch import Switch


def offline_control(settings: Settings, *, dsn: str = "") -> Control:
    """Control over this machine's files, as they stand."""
    rollout = with_files(settings)
    switch = Switch(Path(settings.serve.state_file), Path(settings.serve.sentinel_file))
    control = Control(switch, Replica(rollout, groups_of(rollout), dsn))
    control.start()
    return control


@asynccontextmanager
async def connected_control(settings: Settings) -> AsyncGenerator[Control]:
    """Control over files and, where there is one, the database.

    Raises:
        NotStoredError: by what is done inside, when the database does not answer.
    """
    control = offline_control(settings, dsn=settings.databases.store)
    if not settings.databases.store:
        yield control
        return
    try:
        conn = await asyncpg.connect(settings.databases.store, timeout=TIMEOUT_S, command_timeout=TIMEOUT_S)
    except store.UNAVAILABLE:
        yield control
        return
    try:
        async with asyncio.timeout(TIMEOUT_S):
            await store.migrate(conn)
        await control.replica.sync(conn)
        control.replica.use(conn)
        yield control
        await control.replica.sync(conn)
    except store.UNAVAILABLE as error:
        raise NotStoredError(f"the database is away: {type(error).__name__}") from error
    finally:
        conn.terminate()
