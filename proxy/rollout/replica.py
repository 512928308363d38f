"""One process's replica of the rollout's states: in memory, on disk, and synchronized with the database while that answers.

A change that must be stored before it takes effect goes through `store_first`; a rollback goes through `apply`, and is stored as soon
as possible. States that come from the disk, the database or a peer are merged by rank (proxy.rollout.group_state), so the order in
which they arrive does not matter.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from comparator.postgres import UNAVAILABLE, Connection, connect
from proxy.config.rollout import RolloutSettings
from proxy.errors import NotStoredError, StateFileError, SupersededError
from proxy.rollout import statefile, store
from proxy.rollout.audit import AuditEntry, ChainLink
from proxy.rollout.group_state import GroupState, States, initial_states, merge_states, newer_states

logger = logging.getLogger(__name__)

FILE_POLL_S = 0.2
TIMEOUT_S = 3.0
RETRY_S = 0.5
PENDING_MAX = 500


class Replica:
    """The states of all groups, and the entries of the audit log that wait to be stored.

    Args:
        settings: section `rollout:`, with the names of its files.
        groups: names of the configured groups; states of others are kept and ignored.
        dsn: the database; "" keeps states and audit log in files only.
    """

    def __init__(self, settings: RolloutSettings, groups: Iterable[str], dsn: str = "") -> None:
        self.settings = settings
        self.groups = tuple(groups)
        self.states: States = initial_states(self.groups)
        self.pending: dict[str, AuditEntry] = {}
        self.connected = False
        """True when the database answered last time."""
        self._dsn = dsn
        self._file = statefile.StateFile(Path(settings.state_file))
        self._audit_path = Path(settings.audit_file)
        self._on_change: Callable[[], None] = lambda: None
        self._on_stored: Callable[[Sequence[GroupState]], None] = lambda _: None
        self._on_logged: Callable[[AuditEntry], None] = lambda _: None
        self._announced: set[str] = set()
        self._leadership: statefile.Leadership | None = None
        self._wake = asyncio.Event()
        self._conn: Connection | None = None
        self._conn_lock = asyncio.Lock()
        self._first_sync_ended = asyncio.Event()

    @property
    def configured(self) -> dict[str, GroupState]:
        """The states of the configured groups."""
        return {name: self.states[name] for name in self.groups}

    def watch(
        self,
        *,
        changed: Callable[[], None],
        stored: Callable[[Sequence[GroupState]], None],
        logged: Callable[[AuditEntry], None],
    ) -> None:
        """Register the functions to call after changes.

        Args:
            changed: called after states changed, here or elsewhere.
            stored: called once states that were applied here are stored.
            logged: called for each entry of the audit log in the one process that appended it; while the database is unavailable,
                in the process that made the entry.
        """
        self._on_change, self._on_stored, self._on_logged = changed, stored, logged

    def _announce(self, entries: Iterable[AuditEntry]) -> None:
        for entry in entries:
            if entry.id not in self._announced:
                self._announced.add(entry.id)
                self._on_logged(entry)

    def load(self) -> None:
        """Load the last known states from the disk."""
        self.poll_file()

    def poll_file(self) -> None:
        """Merge the file if another process of this machine has changed it."""
        try:
            saved = self._file.read_if_changed()
        except StateFileError as error:
            logger.error("rollout_state_unreadable", extra={"error": str(error)})
            return
        if saved is not None:
            self.pending = {entry.id: entry for entry in saved.pending} | self.pending
            self._merge(saved.by_group)

    def apply(self, states: States, entries: Sequence[AuditEntry] = ()) -> None:
        """Let states take effect now, and store them and their entries as soon as possible."""
        # Entries about changes always wait for the database; of the others at most PENDING_MAX do.
        has_room = len(self.pending) < PENDING_MAX
        self.pending |= {entry.id: entry for entry in entries if entry.after or has_room}
        self._merge(states)
        saved = self._save(entries)
        self._wake.set()
        if self._dsn and not self.connected:
            self._announce(entries)
        if saved and not self._dsn:
            self._on_stored(tuple(states.values()))

    def _merge(self, states: States) -> bool:
        newer = newer_states(self.states, states)
        if newer:
            self.states = merge_states(self.states, newer)
            self._on_change()
        return bool(newer)

    def _save(self, add: Iterable[AuditEntry] = (), stored: Iterable[str] = ()) -> bool:
        """Write the last known states; a disk that fails is logged, since the states in memory and in the database hold."""
        try:
            if not self._dsn:
                self._announce(statefile.append_entries(self._audit_path, tuple(self.pending.values())))
                stored, self.pending = tuple(self.pending), {}
            self._file.save(self.states, add=add if self._dsn else (), stored=stored)
        except StateFileError as error:
            logger.error("rollout_state_not_saved", extra={"error": str(error)})
            return False
        return True

    async def store_first(
        self, changes: Sequence[tuple[GroupState, GroupState]], entries: Sequence[AuditEntry]
    ) -> None:
        """Store changes (known state, new state) with their entries, all or none; then let them take effect.

        Raises:
            SupersededError: the stored state is newer than the known one.
            NotStoredError: the store is unavailable.
        """
        if self._dsn:
            await self._store_in_database(changes, entries)
        else:
            self._store_in_file(changes)
        self.apply({new.group: new for _, new in changes}, () if self._dsn else entries)

    def _store_in_file(self, changes: Sequence[tuple[GroupState, GroupState]]) -> None:
        """Store changes where the file is the store; `apply` writes the entries."""
        self.poll_file()
        if any(self.states[known.group].rank > known.rank for known, _ in changes):
            raise SupersededError("another change of the rollout came first: read its state and try again")
        try:
            self._file.save({new.group: new for _, new in changes})
        except StateFileError as error:
            raise NotStoredError(str(error)) from error

    async def _store_in_database(
        self, changes: Sequence[tuple[GroupState, GroupState]], entries: Sequence[AuditEntry]
    ) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_S), self._conn_lock:
                conn = self._conn
                if conn is None:
                    raise NotStoredError(
                        "the database is unavailable, and this has to be stored before it takes effect"
                    )
                async with conn.transaction():
                    for known, new in changes:
                        if not await store.replace_state(conn, new, known):
                            raise SupersededError(
                                "another change of the rollout came first: read its state and try again"
                            )
                    appended = await store.append_entries(conn, entries)
        except UNAVAILABLE as error:
            self._wake.set()
            raise NotStoredError(f"the database is unavailable: {type(error).__name__}") from error
        self._announce(appended)

    async def run(self) -> None:
        """Keep the replica synchronized with the disk and the database, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch_file(), name="rollout-file")
            if self._dsn:
                group.create_task(self._watch_database(), name="rollout-database")

    async def wait_for_first_sync(self) -> None:
        """Wait until the first attempt to synchronize with the database has ended, well or not."""
        if self._dsn:
            await self._first_sync_ended.wait()

    async def _watch_file(self) -> None:
        while True:
            await asyncio.sleep(FILE_POLL_S)
            self.poll_file()

    async def _watch_database(self) -> None:
        while True:
            try:
                await self._stay_connected()
            except UNAVAILABLE as error:
                if self.connected:
                    logger.warning("rollout_store_unavailable", extra={"error": f"{type(error).__name__}: {error}"})
                self.connected = False
                self._first_sync_ended.set()
            await asyncio.sleep(min(RETRY_S, self.settings.poll_s))

    async def _stay_connected(self) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            conn = await connect(self._dsn, timeout_s=TIMEOUT_S, command_timeout_s=TIMEOUT_S)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await store.migrate(conn)
                await conn.add_listener(store.CHANNEL, self._on_notification)
            self._conn = conn
            while True:
                self._wake.clear()
                await self.sync(conn)
                self.connected = True
                self._first_sync_ended.set()
                await self._wait_for_wake()
        finally:
            self._conn = None
            conn.terminate()

    def _on_notification(self, *_: object) -> None:
        self._wake.set()

    async def _wait_for_wake(self) -> None:
        try:
            async with asyncio.timeout(self.settings.poll_s):
                await self._wake.wait()
        except TimeoutError:
            pass

    @asynccontextmanager
    async def session(self) -> AsyncGenerator[None]:
        """Use the database for one block, in a command that does not `run` the replica.

        The replica is synchronized at both ends of the block, and changes inside are stored. Where no database is configured or the
        database does not answer, the block works on this machine's files alone, and `store_first` refuses.

        Raises:
            NotStoredError: the database became unavailable inside the block.
        """
        self.poll_file()
        if not self._dsn:
            yield
            return
        try:
            conn = await connect(self._dsn, timeout_s=TIMEOUT_S, command_timeout_s=TIMEOUT_S)
        except UNAVAILABLE:
            yield
            return
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await store.migrate(conn)
            await self.sync(conn)
            self._conn = conn
            yield
            await self.sync(conn)
        except UNAVAILABLE as error:
            raise NotStoredError(f"the database is unavailable: {type(error).__name__}") from error
        finally:
            self._conn = None
            conn.terminate()

    async def sync(self, conn: Connection) -> None:
        """Merge the newer states of the database, and store the newer ones of this replica with the entries that wait."""
        async with self._conn_lock, asyncio.timeout(TIMEOUT_S):
            stored = await store.read_states(conn)
            changed = self._merge(stored)
            newer, waiting = newer_states(stored, self.states), tuple(self.pending.values())
            written = [state for state in newer.values() if state.version]
            appended: Sequence[AuditEntry] = ()
            if written or waiting:
                async with conn.transaction():
                    for state in written:
                        await store.put_state(conn, state)
                    appended = await store.append_entries(conn, waiting)
        for entry in waiting:
            self.pending.pop(entry.id, None)
        self._announce(appended)
        if changed or waiting or written:
            self._save(stored=[entry.id for entry in waiting])
        if written:
            self._on_stored(written)

    def close(self) -> None:
        """Give up the lead."""
        if self._leadership is not None:
            self._leadership.close()
            self._leadership = None

    async def is_leader(self) -> bool:
        """Return True in the one process that acts on its own: the one whose session holds the lock in the database.

        Without a database, the one that holds the lock beside the state file.
        """
        if not self._dsn:
            self._leadership = self._leadership or statefile.try_acquire_leadership(self._file.path)
            return self._leadership is not None
        if self._conn is None:
            return False
        try:
            async with asyncio.timeout(TIMEOUT_S), self._conn_lock:
                return await store.acquire_leadership(self._conn)
        except UNAVAILABLE:
            return False

    async def refresh(self) -> None:
        """Merge the changes of other processes before a decision; a database that does not answer is skipped."""
        self.poll_file()
        if self._conn is not None:
            try:
                await self.sync(self._conn)
            except UNAVAILABLE:
                self._wake.set()

    async def history(self, *, limit: int | None = None) -> tuple[ChainLink, ...]:
        """Return the audit log, or its last `limit` entries, oldest first.

        Raises:
            NotStoredError: the database does not answer.
            StateFileError: the log on disk is damaged.
        """
        if not self._dsn:
            links = statefile.read_links(self._audit_path)
            return links[-limit:] if limit else links
        try:
            async with asyncio.timeout(TIMEOUT_S), self._conn_lock:
                if self._conn is None:
                    raise NotStoredError("the database is unavailable; entries that wait for it are in the state file")
                return await store.read_links(self._conn, limit=limit)
        except UNAVAILABLE as error:
            raise NotStoredError(f"the database is unavailable: {type(error).__name__}") from error
