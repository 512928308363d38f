"""Take back everything that a capture has left in a database: publication, replica identities, triggers, the change log and the slot.

Each table is changed in a transaction of its own, and its writes are tried as when it was prepared (`table_changes`). What was there
before the capture stays: a publication that is FOR ALL TABLES, a replica identity that was FULL already, the text of a comment.
"""

import asyncio
import time
from typing import Final

import asyncpg

from comparator.capture import trigger_log
from comparator.capture.catalog import CATALOG_TIMEOUT_S, literal
from comparator.capture.errors import SlotRefusedError
from comparator.capture.publication import read_publication, withdraw
from comparator.capture.settings import CaptureSettings
from comparator.capture.table_changes import TableChange, change_each
from comparator.capture.table_shape import quote

RELEASE_S: Final = 5.0
"""Longest time that a slot in use is waited for: its reader may just have stopped."""
RELEASE_POLL_S: Final = 0.1

SLOT = """
SELECT active, plugin = 'pgoutput' AND database = current_database() AS ours FROM pg_replication_slots WHERE slot_name = $1
"""


async def remove(
    conn: asyncpg.Connection, settings: CaptureSettings, *, release_s: float = RELEASE_S
) -> tuple[str, ...]:
    """Take everything back; return the statements that were run. Idempotent.

    Args:
        conn: to the database.
        settings: of the capture.
        release_s: longest time to wait for a slot that a reader uses, in seconds.

    Raises:
        SlotRefusedError: a reader uses the slot: stop the runner first. Nothing was changed.
        RightsError: the role lacks a privilege.
        LockTimeoutError: a table was busy; run it again. What was taken back before stays so.
    """
    slot = await _unused_slot(conn, settings.slot.name, release_s=release_s)
    statements = [*await trigger_log.remove(conn, settings)]
    state = await read_publication(conn, settings.publication)
    if state.tables is not None and not state.all_tables:
        statements += await withdraw(conn, settings)
        statements += await change_each(
            conn, [TableChange((f"DROP PUBLICATION {quote(settings.publication)};",))], settings
        )
    if slot:
        drop = f"SELECT pg_drop_replication_slot({literal(slot)});"
        # Not in a transaction: the server would keep the log until its end.
        await conn.execute(drop, timeout=CATALOG_TIMEOUT_S)
        statements.append(drop)
    return tuple(statements)


async def _unused_slot(conn: asyncpg.Connection, name: str, *, release_s: float) -> str:
    """Return the name of the persistent slot of this database, "" when there is none.

    The server frees a slot a moment after its reader has gone: once it has noticed that the connection is closed.
    """
    waited_until = time.monotonic() + release_s
    while (slot := await conn.fetchrow(SLOT, name, timeout=CATALOG_TIMEOUT_S)) is not None and slot["ours"]:
        if not slot["active"]:
            return name
        if time.monotonic() >= waited_until:
            raise SlotRefusedError(
                f"the slot {name} is in use, {release_s:g} s after the first look: stop the runner first"
            )
        await asyncio.sleep(RELEASE_POLL_S)
    return ""
