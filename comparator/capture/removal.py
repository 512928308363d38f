"""Take back everything that a capture has left in a database: publication, replica identities, triggers, the change log and the slot.

Each table is changed in a transaction of its own, and its writes are tried as when it was prepared (`table_changes`). What was there
before the capture stays: a publication that is FOR ALL TABLES, a replica identity that was FULL already, the text of a comment.
"""

import asyncpg

from comparator.capture import trigger_log
from comparator.capture.catalog import CATALOG_TIMEOUT_S, literal
from comparator.capture.errors import SlotRefusedError
from comparator.capture.publication import read_publication, withdraw
from comparator.capture.settings import CaptureSettings
from comparator.capture.table_changes import TableChange, change_each
from comparator.capture.table_shape import quote

SLOT = """
SELECT active, plugin = 'pgoutput' AND database = current_database() AS ours FROM pg_replication_slots WHERE slot_name = $1
"""


async def remove(conn: asyncpg.Connection, settings: CaptureSettings) -> tuple[str, ...]:
    """Take everything back; return the statements that were run. Idempotent.

    Raises:
        SlotRefusedError: a reader uses the slot: stop the runner first. Nothing was changed.
        RightsError: the role lacks a privilege.
        LockTimeoutError: a table was busy; run it again. What was taken back before stays so.
    """
    slot = await _unused_slot(conn, settings.slot.name)
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


async def _unused_slot(conn: asyncpg.Connection, name: str) -> str:
    """Return the name of the persistent slot of this database, "" when there is none."""
    slot = await conn.fetchrow(SLOT, name, timeout=CATALOG_TIMEOUT_S)
    if slot is None or not slot["ours"]:
        return ""
    if slot["active"]:
        raise SlotRefusedError(f"the slot {name} is in use: stop the runner first")
    return name
