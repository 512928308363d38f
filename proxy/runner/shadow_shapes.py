"""Take changed definitions into use where the runner writes to the shadow: shapes, what may not be split, sequences.

reading of the shadow -> read_obstacles -> tables that the runner cannot write exactly any more are paused
                         advance_sequences -> sequences that a migration has added make no ids of live
tables in force       -> take -> the writer's shapes
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import asyncpg

from comparator.capture.schema_reading import OWN_SCHEMAS
from comparator.capture.settings import CaptureSettings
from comparator.capture.table_shape import Catalog, TableShape
from comparator.capture.write_obstacles import read_write_facts, write_obstacles
from proxy.runner.ledger import Ledger
from proxy.runner.row_writer import RowWriter
from proxy.runner.shadow_sequences import advance, read_sequences

ACQUIRE_TIMEOUT_S: Final = 10.0


@dataclass(slots=True)
class ShadowShapes:
    """The users of the shapes of the shadow's tables.

    Attributes:
        live: connections to live.
        shadow: connections to the shadow.
        capture: names the schema of the change log, whose sequence stays as it is.
        writer: writes rows of the shadow.
        ledger: keeps together what cannot be written apart.
        tables: shapes of the tables in force; changed in place.
        changed: called when there may be something to do.
    """

    live: asyncpg.Pool
    shadow: asyncpg.Pool
    capture: CaptureSettings
    writer: RowWriter
    ledger: Ledger
    tables: Mapping[str, TableShape]
    changed: Callable[[], None]
    _fragile: frozenset[str] = frozenset()
    _former: dict[str, TableShape] = field(default_factory=dict[str, TableShape])

    async def read_obstacles(self, catalog: Catalog) -> Mapping[str, Sequence[str]]:
        """Return what keeps tables of the shadow from being written exactly, with the statements that would help."""
        async with self.shadow.acquire(timeout=ACQUIRE_TIMEOUT_S) as conn:
            facts = await read_write_facts(conn, catalog)
        self._fragile = facts.fragile()
        self.ledger.undivided = facts.bound(catalog)
        found: dict[str, list[str]] = {}
        for obstacle in write_obstacles(facts, catalog):
            text = f"{obstacle.table}: {obstacle.problem}; run {' '.join(obstacle.remedy)}"
            found.setdefault(obstacle.table, []).append(text)
        return found

    async def advance_sequences(self) -> None:
        """Move the sequences of the shadow that are not apart from live's."""
        own = (*OWN_SCHEMAS, self.capture.log_schema)
        async with (
            self.live.acquire(timeout=ACQUIRE_TIMEOUT_S) as live,
            self.shadow.acquire(timeout=ACQUIRE_TIMEOUT_S) as shadow,
        ):
            await advance(shadow, await read_sequences(live, shadow, without_schemas=own))

    def take(self) -> None:
        """Take the shapes of the tables in force into use."""
        self._former.update(self.tables)
        self.writer.use(Catalog(dict(self.tables)), fragile=self._fragile, leaving=self._former)
        self.changed()
