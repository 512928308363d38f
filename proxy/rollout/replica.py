"""One process's copy of the rollout's state: in memory, on disk, and kept equal to the database's while that answers.

A change that must be stored first goes through `store_first`; a rollback goes through `take` and is stored when it can be. What
comes from the disk, the database or a peer is merged (proxy.rollout.group_state), so the order in which they answer does not matter.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import asyncpg

from proxy.config.rollout import RolloutSettings
from proxy.errors import NotStoredError, StateFileError, SupersededError
from proxy.rollout import statefile, store
from proxy.rollout.audit import AuditEntry, ChainLink
from proxy.rollout.group_state import GroupState, States, newer_states, initial_states, merge_states

logger = logging.getLogger(__name__)

FILE_POLL_S = 0.2
TIMEOUT_S = 3.0
RETRY_S = 0.5
PENDING_MAX = 500


class Replica:
    """Holds the states of all groups.

    Args:
        settings: section `rollout:`.
        groups: names of the groups there are; states of others are kept and ignored.
        dsn: the database; "" keeps state and audit log in files only.
    """

    def __init__(self, settings: RolloutSettings, groups: Iterable[str], dsn: str = "") -> None:
        self.settings = settings
        self.groups = tuple(groups)
        self.states: States = initial_states(self.groups)
        self.pending: dict[str, AuditEntry] = {}
        self.connected = False
        """Whether the database answered last."""
        self._dsn = dsn
        self._file = statefile.StateFile(Path(settings.state_file))
        self._audit_path = Path(settings.audit_file)
        self._on_change: Callable[[], None] = lambda: None
        self._on_stored: Callable[[Sequence[GroupState]], None] = lambda _: None
        self._on_logged: Callable[[AuditEntry], None] = lambda _: None
        self._told: set[str] = set()
        self._lead: statefile.Leadership | None = None
        self._wake = asyncio.Event()
        self._conn: store.Connection | None = None
        self._turn = asyncio.Lock()
        self._tried = asyncio.Event()

    @property
    def configured(self) -> dict[str, GroupState]:
        """The states of the groups that settings name."""
        return {name: self.states[name] for name in self.groups}

    def watch(
        self,
        *,
        changed: Callable[[], None],
        stored: Callable[[Sequence[GroupState]], None],
        logged: Callable[[AuditEntry], None],
    ) -> None:
        """Have functions called: `changed` after states changed, by whomever; `stored` once states taken here are stored;
        `logged` for each entry of the log by the one process that wrote it, or while the database is away by all that made it.
        """
        self._on_change, self._on_stored, self._on_logged = changed, stored, logged

    def _tell(self, entries: Iterable[AuditEntry]) -> None:
        for entry in entries:
            if entry.id not in self._told:
                self._told.add(entry.id)
                self._on_logged(entry)

    def load(self) -> None:
        """Take the last known state from the disk."""
        self.poll_file()

    def poll_file(self) -> None:
        """Look at the file: another process of this machine may have changed it."""
        try:
            saved = self._file.read_if_changed()
        except StateFileError as error:
            logger.error("rollout_state_unreadable", extra={"error": str(error)})
            return
        if saved is not None:
            self.pending = {entry.id: entry for entry in saved.pending} | self.pending
            self._adopt(saved.by_group)

    def apply(self, states: States, entries: Sequence[AuditEntry] = ()) -> None:
        """Let states take effect now, and store them and their entries as soon as it is possible."""
        # A change is always kept; of what changed nothing, only so many wait for the database.
        room = len(self.pending) < PENDING_MAX
        self.pending |= {entry.id: entry for entry in entries if entry.after or room}
        self._adopt(states)
        saved = self._save(entries)
        self._wake.set()
        if self._dsn and not self.connected:
            self._tell(entries)
        if saved and not self._dsn:
            self._on_stored(tuple(states.values()))

    def _adopt(self, states: States) -> bool:
        fresh = newer_states(self.states, states)
        if fresh:
            self.states = merge_states(self.states, fresh)
            self._on_change()
        return bool(fresh)

    def _save(self, add: Iterable[AuditEntry] = (), stored: Iterable[str] = ()) -> bool:
        """Write the last known state; a disk that fails is logged, as the state in memory and in the database holds."""
        try:
            if not self._dsn:
                self._tell(statefile.append_entries(self._audit_path, tuple(self.pending.values())))
                stored, self.pending = tuple(self.pending), {}
            self._file.save(self.states, add=add if self._dsn else (), stored=stored)
        except StateFileError as error:
            logger.error("rollout_state_not_saved", extra={"error": str(error)})
            return False
        return True

    async def store_first(
        self, changes: Sequence[tuple[GroupState, GroupState]], entries: Sequence[AuditEntry]
    ) -> None:
        """Store changes (known state, new state) with their entries, all or none; only then do they take effect.

        Raises:
            SupersededError: the stored state is newer than what was known.
            NotStoredError: the store is away.
        """
        if self._dsn:
            await self._store_in_database(changes, entries)
        else:
            self._store_in_file(changes)
        self.apply({new.group: new for _, new in changes}, () if self._dsn else entries)

    def _store_in_file(self, changes: Sequence[tuple[GroupState, GroupState]]) -> None:
        """The file is the store: adopt what is there, then write; `take` writes the entries."""
        self.poll_file()
        if any(self.states[known.group].rank > known.rank for known, _ in changes):
            raise SupersededError("somebody else changed the rollout meanwhile")
        try:
            self._file.save({new.group: new for _, new in changes})
        except StateFileError as error:
            raise NotStoredError(str(error)) from error

    async def _store_in_database(
        self, changes: Sequence[tuple[GroupState, GroupState]], entries: Sequence[AuditEntry]
    ) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_S), self._turn:
                conn = self._conn
                if conn is None:
                    raise NotStoredError("the database is away, and this has to be stored before it takes effect")
                async with conn.transaction():
                    for known, new in changes:
                        if not await store.replace_state(conn, new, known):
                            raise SupersededError("somebody else changed the rollout meanwhile")
                    fresh = await store.append_entries(conn, entries)
        except store.UNAVAILABLE as error:
            self._wake.set()
            raise NotStoredError(f"the database is away: {type(error).__name__}") from error
        self._tell(fresh)

    async def run(self) -> None:
        """Keep the copy equal to the disk's and the database's, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch_file(), name="rollout-file")
            if self._dsn:
                group.create_task(self._watch_database(), name="rollout-database")

    async def wait_for_first_sync(self) -> None:
        """Wait until the database has answered, or not, for the first time."""
        if self._dsn:
            await self._tried.wait()

    async def _watch_file(self) -> None:
        while True:
            await asyncio.sleep(FILE_POLL_S)
            self.poll_file()

    async def _watch_database(self) -> None:
        while True:
            try:
                await self._while_connected()
            except store.UNAVAILABLE as error:
                if self.connected:
                    logger.warning("rollout_store_away", extra={"error": f"{type(error).__name__}: {error}"})
                self.connected = False
                self._tried.set()
            await asyncio.sleep(min(RETRY_S, self.settings.poll_s))

    async def _while_connected(self) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            conn = await asyncpg.connect(self._dsn, timeout=TIMEOUT_S, command_timeout=TIMEOUT_S)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await store.migrate(conn)
                await conn.add_listener(store.CHANNEL, self._notified)
            self._conn = conn
            while True:
                self._wake.clear()
                await self.sync(conn)
                self.connected = True
                self._tried.set()
                await self._woken()
        finally:
            self._conn = None
            conn.terminate()

    def _notified(self, *_: object) -> None:
        self._wake.set()

    async def _woken(self) -> None:
        try:
            async with asyncio.timeout(self.settings.poll_s):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def sync(self, conn: store.Connection) -> None:
        """Take what is news in the database, and store what is news here, with the entries that wait."""
        async with self._turn, asyncio.timeout(TIMEOUT_S):
            stored = await store.read_states(conn)
            changed = self._adopt(stored)
            ours, waiting = newer_states(stored, self.states), tuple(self.pending.values())
            written = [state for state in ours.values() if state.version]
            fresh: Sequence[AuditEntry] = ()
            if written or waiting:
                async with conn.transaction():
                    for state in written:
                        await store.put_state(conn, state)
                    fresh = await store.append_entries(conn, waiting)
        for entry in waiting:
            self.pending.pop(entry.id, None)
        self._tell(fresh)
        if changed or waiting or written:
            self._save(stored=[entry.id for entry in waiting])
        if written:
            self._on_stored(written)

    def close(self) -> None:
        """Give up the lead."""
        if self._lead is not None:
            self._lead.close()
            self._lead = None

    async def is_leader(self) -> bool:
        """Whether this process is the one that acts by itself: the one whose session holds the database's lock.

        Without a database, the one that holds the state file's neighbour locked.
        """
        if not self._dsn:
            self._lead = self._lead or statefile.try_acquire_leadership(self._file.path)
            return self._lead is not None
        if self._conn is None:
            return False
        try:
            async with asyncio.timeout(TIMEOUT_S), self._turn:
                return await store.acquire_leadership(self._conn)
        except store.UNAVAILABLE:
            return False

    async def refresh(self) -> None:
        """Learn what others have done until now, before deciding; what does not answer is not waited for."""
        self.poll_file()
        if self._conn is not None:
            try:
                await self.sync(self._conn)
            except store.UNAVAILABLE:
                self._wake.set()

    def use(self, conn: store.Connection) -> None:
        """Store through a connection that somebody else holds, where `run` does not."""
        self._conn = conn

    async def history(self, *, limit: int | None = None) -> tuple[ChainLink, ...]:
        """The audit log, oldest entry first.

        Raises:
            NotStoredError: the database does not answer.
            StateFileError: the log on disk is damaged.
        """
        if not self._dsn:
            found = statefile.read_links(self._audit_path)
            return found[-limit:] if limit else found
        try:
            async with asyncio.timeout(TIMEOUT_S), self._turn:
                if self._conn is None:
                    raise NotStoredError("the database is away; what waits for it is in the state file")
                return await store.read_links(self._conn, limit=limit)
        except store.UNAVAILABLE as error:
            raise NotStoredError(f"the database is away: {type(error).__name__}") from error
