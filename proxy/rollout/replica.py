"""One process's replica of the rollout's states: in memory, on disk, and synchronized with the database while that answers.

A change that must be stored before it takes effect goes through `store_first`; a rollback goes through `apply`, and is stored as soon
as possible. States that come from the disk, the database or a peer are merged by rank (proxy.rollout.group_state), so the order in
which they arrive does not matter. Files are read and written through `disks`, so that one that hangs blocks no client.
"""

# ruff: noqa: PLC0415 (`shadow rollback` begins with the files of this machine; the client of the database is imported when it is needed)

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from proxy.config.rollout import RolloutSettings
from proxy.errors import NotStoredError, StateFileError, SupersededError
from proxy.rollout import statefile
from proxy.rollout.audit import AuditEntry, ChainLink
from proxy.rollout.disk import Disks
from proxy.rollout.group_state import GroupState, States, initial_states, merge_states, newer_states

if TYPE_CHECKING:
    from comparator.postgres import Connection

logger = logging.getLogger(__name__)

FILE_POLL_S = 0.2
TIMEOUT_S = 3.0
DISK_S = 2.0
"""Time that a change which must be stored first waits for the disk."""
RETRY_S = 0.5
PENDING_MAX = 500


class Replica:
    """The states of all groups, and the entries of the audit log that wait to be stored.

    Args:
        settings: section `rollout:`, with the names of its files.
        groups: names of the configured groups; states of others are kept and ignored.
        dsn: the database; "" keeps states and audit log in files only.
        disks: where files are read and written; by default at once.
    """

    def __init__(
        self, settings: RolloutSettings, groups: Iterable[str], dsn: str = "", *, disks: Disks | None = None
    ) -> None:
        self.settings = settings
        self.groups = tuple(groups)
        self.states: States = initial_states(self.groups)
        self.pending: dict[str, AuditEntry] = {}
        self.connected = False
        """True when the database answered last time."""
        self._dsn = dsn
        self._disks = disks or Disks.inline()
        self._file = statefile.StateFile(Path(settings.state_file))
        self._audit_path = Path(settings.audit_file)
        self._on_change: Callable[[], None] = lambda: None
        self._on_stored: Callable[[Sequence[GroupState]], None] = lambda _: None
        self._on_logged: Callable[[AuditEntry], None] = lambda _: None
        self._announced: set[str] = set()
        self._leadership: statefile.Leadership | None = None
        self._closed = False
        self._reading = self._saving = self._appending = self._unsaved = False
        self._save_failed = self._append_failed = False
        """True while the disk fails, which is logged once."""
        self._stored_ids: set[str] = set()
        """Entries that are stored elsewhere and still in the state file."""
        self._wake = asyncio.Event()
        self._conn: Connection | None = None
        self._conn_lock = asyncio.Lock()
        self._first_sync_ended = asyncio.Event()

    @property
    def saved(self) -> bool:
        """True when the states in memory are the ones on disk."""
        return not self._saving and not self._unsaved

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
        """Load the last known states from the disk, and reserve room for the next ones: before clients are served."""
        try:
            self._read(self._file.read_if_changed())
        except StateFileError as error:
            self._unreadable(error)
        try:
            statefile.reserve_blocks(self._file.path)
        except OSError as error:
            logger.warning("rollout_state_not_reserved", extra={"path": str(self._file.path), "error": str(error)})

    def poll_file(self) -> None:
        """Merge the file if another process of this machine has changed it."""
        if not self._reading:
            self._reading = True
            self._disks.reading.submit(self._file.read_if_changed, self._read, self._unreadable)

    def _read(self, saved: statefile.SavedStates | None) -> None:
        self._reading = False
        if saved is not None:
            self.pending = {
                entry.id: entry for entry in saved.pending if entry.id not in self._stored_ids
            } | self.pending
            self._merge(saved.by_group)

    def _unreadable(self, error: Exception) -> None:
        self._reading = False
        logger.error("rollout_state_unreadable", extra={"error": str(error)})

    def apply(self, states: States, entries: Sequence[AuditEntry] = ()) -> None:
        """Let states take effect now, and store them and their entries as soon as possible."""
        # Entries about changes always wait for the database; of the others at most PENDING_MAX do.
        has_room = len(self.pending) < PENDING_MAX
        self.pending |= {entry.id: entry for entry in entries if entry.after or has_room}
        self._merge(states)
        self._save()
        self._append()
        self._wake.set()
        if self._dsn and not self.connected:
            self._announce(entries)

    def _merge(self, states: States) -> bool:
        merged = merge_states(self.states, states)
        changed = merged != self.states
        if changed:
            self.states = merged
            self._on_change()
        return changed

    def _save(self) -> None:
        """Write the last known states. While the disk hangs one write is under way, and the newest states are written after it."""
        self._unsaved = True
        if self._saving:
            return
        self._saving, self._unsaved = True, False
        states, stored = self.states, frozenset(self._stored_ids)
        # The audit log in a file takes the entries itself; while it cannot, they must survive a restart here.
        add = tuple(self.pending.values()) if self._dsn or self._append_failed else ()
        self._disks.states.submit(
            partial(self._file.save, states, add=add, stored=stored),
            partial(self._was_saved, states, stored),
            self._was_not_saved,
        )

    def _was_saved(self, states: States, stored: frozenset[str], _: statefile.SavedStates) -> None:
        self._saving = self._save_failed = False
        self._stored_ids -= stored
        if self._unsaved:
            self._save()
        if not self._dsn:
            self._on_stored(tuple(states.values()))

    def _was_not_saved(self, error: Exception) -> None:
        """Note that the disk fails: the states in memory and in the database hold, and the file is tried again."""
        self._saving, self._unsaved = False, True
        if not self._save_failed:
            logger.error("rollout_state_not_saved", extra={"error": str(error)})
        self._save_failed = True

    def _append(self) -> None:
        """Append the entries that wait to the audit log where that is a file."""
        if self._dsn or self._appending or not self.pending:
            return
        self._appending = True
        entries = tuple(self.pending.values())
        self._disks.audit.submit(
            partial(statefile.append_entries, self._audit_path, entries),
            partial(self._was_appended, entries),
            self._was_not_appended,
        )

    def _was_appended(self, entries: Sequence[AuditEntry], appended: Sequence[AuditEntry]) -> None:
        self._appending = False
        for entry in entries:
            self.pending.pop(entry.id, None)
        if self._append_failed:
            self._append_failed = False
            self._forget([entry.id for entry in entries])
        self._announce(appended)
        self._append()

    def _was_not_appended(self, error: Exception) -> None:
        self._appending = False
        if not self._append_failed:
            logger.error("audit_log_not_written", extra={"error": str(error)})
            self._append_failed = True
            self._save()

    def _forget(self, ids: Iterable[str]) -> None:
        """Remove entries that are stored elsewhere from the state file."""
        self._stored_ids.update(ids)
        self._save()

    async def store_first(
        self, changes: Sequence[tuple[GroupState, GroupState]], entries: Sequence[AuditEntry]
    ) -> None:
        """Store changes (known state, new state) with their entries, all or none; then let them take effect.

        Raises:
            SupersededError: the stored state is newer than the known one.
            NotStoredError: the store is unavailable.
        """
        for known, _ in changes:
            self._check_newest(known)
        if self._dsn:
            await self._store_in_database(changes, entries)
        else:
            await self._store_in_file(changes)
        self.apply({new.group: new for _, new in changes}, () if self._dsn else entries)

    def _check_newest(self, known: GroupState) -> None:
        present = self.states.get(known.group, known)
        if present.rank > known.rank:
            raise SupersededError(
                f"{known.group}: another change came first: {present.describe()}; look at it and decide again"
            )

    async def _store_in_file(self, changes: Sequence[tuple[GroupState, GroupState]]) -> None:
        """Store changes where the file is the store; `apply` writes the entries."""
        abandoned = threading.Event()
        try:
            await self._disks.states.run(partial(self._file.replace, changes, abandoned), timeout_s=DISK_S)
        except (StateFileError, OSError) as error:
            # (a write that hangs now must not take effect after the operator was told that it failed)
            abandoned.set()
            raise NotStoredError(str(error)) from error

    async def _store_in_database(
        self, changes: Sequence[tuple[GroupState, GroupState]], entries: Sequence[AuditEntry]
    ) -> None:
        from comparator.postgres import UNAVAILABLE
        from proxy.rollout import store

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
                                f"{known.group}: another change of the rollout came first: read its state and decide again"
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
            self._append()
            if self._unsaved:
                self._save()

    async def _watch_database(self) -> None:
        from comparator.postgres import UNAVAILABLE

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
        from comparator.postgres import connect
        from proxy.rollout import store

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
        from comparator.postgres import UNAVAILABLE, connect
        from proxy.rollout import store

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

    async def sync(self, conn: "Connection") -> None:
        """Merge the newer states of the database, and store the newer ones of this replica with the entries that wait."""
        from proxy.rollout import store

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
            self._forget(entry.id for entry in waiting)
        if written:
            self._on_stored(written)

    def close(self) -> None:
        """Give up the lead."""
        self._closed = True
        if self._leadership is not None:
            self._leadership.close()
            self._leadership = None

    async def is_leader(self) -> bool:
        """Return True in the one process that acts on its own: the one whose session holds the lock in the database.

        Without a database, the one that holds the lock beside the state file.
        """
        from comparator.postgres import UNAVAILABLE
        from proxy.rollout import store

        if not self._dsn:
            try:
                await self._disks.other.run(self._acquire_leadership, timeout_s=DISK_S)
            except OSError:
                return False
            return self._leadership is not None
        if self._conn is None:
            return False
        try:
            async with asyncio.timeout(TIMEOUT_S), self._conn_lock:
                return await store.acquire_leadership(self._conn)
        except UNAVAILABLE:
            return False

    def _acquire_leadership(self) -> None:
        if not self._closed and self._leadership is None:
            self._leadership = statefile.try_acquire_leadership(self._file.path)

    async def refresh(self) -> None:
        """Merge the changes of other processes before a decision; a database that does not answer is skipped.

        Raises:
            NotStoredError: the disk does not answer: what others have changed is not known.
        """
        from comparator.postgres import UNAVAILABLE

        try:
            self._read(await self._disks.reading.run(self._file.read_if_changed, timeout_s=DISK_S))
        except StateFileError as error:
            self._unreadable(error)
        except OSError as error:
            raise NotStoredError(f"{self._file.path}: {error.strerror}") from error
        if self._conn is not None:
            try:
                await self.sync(self._conn)
            except UNAVAILABLE:
                self._wake.set()

    async def history(self, *, limit: int | None = None) -> tuple[ChainLink, ...]:
        """Return the audit log, or its last `limit` entries, oldest first.

        Raises:
            NotStoredError: the database does not answer.
            StateFileError: the log on disk is damaged, or the disk does not answer.
        """
        from comparator.postgres import UNAVAILABLE
        from proxy.rollout import store

        if not self._dsn:
            try:
                links = await self._disks.other.run(
                    partial(statefile.read_links, self._audit_path), timeout_s=TIMEOUT_S
                )
            except OSError as error:
                raise StateFileError(f"{self._audit_path}: {error.strerror}") from error
            return links[-limit:] if limit else links
        try:
            async with asyncio.timeout(TIMEOUT_S), self._conn_lock:
                if self._conn is None:
                    raise NotStoredError("the database is unavailable; entries that wait for it are in the state file")
                return await store.read_links(self._conn, limit=limit)
        except UNAVAILABLE as error:
            raise NotStoredError(f"the database is unavailable: {type(error).__name__}") from error
