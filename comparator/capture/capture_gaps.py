"""Read from a database which of its tables are captured exactly, and why the others are not."""

from collections.abc import Iterable

from comparator.capture.capturability import CaptureState, gap, unreadable
from comparator.capture.catalog import published_tables, read_family
from comparator.capture.publication import read_publication
from comparator.capture.settings import CaptureSettings, Driver
from comparator.capture.trigger_log import logged_tables
from comparator.postgres import Connection


async def read_gaps(conn: Connection, settings: CaptureSettings, tables: Iterable[str]) -> dict[str, str]:
    """Return the tables whose changes do not all arrive, or whose rows cannot be copied, with the reason.

    Among them are tables of which the configuration knows nothing: those that inherit from a named one, because a statement on a table
    writes the rows of its children too.

    Args:
        conn: connection to the database.
        settings: section `capture:` as it applies to this database.
        tables: names of the tables that have to be captured.
    """
    names = tuple(tables)
    catalog = await read_family(conn, names)
    version: int = conn.get_server_version().major
    publication = await read_publication(conn, settings.publication)
    state = CaptureState(settings.driver, version, publication, await logged_tables(conn))
    gaps = {name: "no such table" for name in names if name not in catalog.tables}
    for name, table in catalog.tables.items():
        reason = gap(table, state) or unreadable(table)
        if reason:
            gaps[name] = reason
    return gaps


async def captured_tables(conn: Connection, settings: CaptureSettings) -> tuple[str, ...]:
    """Return the names of the tables of which the driver delivers every change as it was."""
    if settings.driver is Driver.TRIGGERS:
        names = await logged_tables(conn)
    else:
        names = await published_tables(conn, settings.publication)
    gaps = await read_gaps(conn, settings, names)
    return tuple(name for name in names if name not in gaps)
