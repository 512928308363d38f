"""The last known states on this machine's disk, shared by its processes, and the audit log where there is no database.

Every write reads the file, merges and replaces it under a lock, so no process undoes another's change.
"""

import fcntl
import os
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import msgspec

from proxy.errors import StateFileError
from proxy.rollout.audit import AuditEntry, ChainLink, chain_entry
from proxy.rollout.group_state import GroupState, States, merge_states

FileVersion: TypeAlias = tuple[int, int]
"""Modification time in nanoseconds and inode: both change with every replacement."""


class SavedStates(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The contents of the state file. `pending` are entries of the audit log that are not in the database yet."""

    states: tuple[GroupState, ...] = ()
    pending: tuple[AuditEntry, ...] = ()

    @property
    def by_group(self) -> dict[str, GroupState]:
        """States by group."""
        return {state.group: state for state in self.states}


class StateFile:
    """The state file of one installation."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: FileVersion | None = None

    def read_if_changed(self) -> SavedStates | None:
        """Read the file; None when it has not changed since the last call, or does not exist.

        Raises:
            StateFileError: the file cannot be read; raised once for each change of the file.
        """
        try:
            stat = self.path.stat()
        except OSError:
            return None
        seen = (stat.st_mtime_ns, stat.st_ino)
        if seen == self._seen:
            return None
        self._seen = seen
        return read_states(self.path)

    def save(self, states: States, *, add: Iterable[AuditEntry] = (), stored: Iterable[str] = ()) -> SavedStates:
        """Merge states and entries into the file, and remove entries that were stored elsewhere.

        Args:
            states: states to merge by rank.
            add: entries of the audit log that wait to be stored.
            stored: ids of entries that wait no longer.

        Returns:
            The new contents.

        Raises:
            StateFileError: the file cannot be written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with locked(self.path):
                saved = merge(self._contents(), states, add=add, stored=stored)
                write_atomically(self.path, msgspec.json.encode(saved))
                return saved
        except OSError as error:
            raise StateFileError(f"{self.path}: {error.strerror}") from error

    def _contents(self) -> SavedStates:
        try:
            return read_states(self.path) if self.path.exists() else SavedStates()
        except StateFileError:
            # A file that cannot be read has nothing that could be kept.
            return SavedStates()


def merge(saved: SavedStates, states: States, *, add: Iterable[AuditEntry], stored: Iterable[str]) -> SavedStates:
    """Return the new contents of the file; the arguments are those of `StateFile.save`."""
    entries = {entry.id: entry for entry in (*saved.pending, *add)}
    for identity in stored:
        entries.pop(identity, None)
    return SavedStates(tuple(merge_states(saved.by_group, states).values()), tuple(entries.values()))


def read_states(path: Path) -> SavedStates:
    """Read the file.

    Raises:
        StateFileError: the file cannot be read.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=SavedStates)
    except (OSError, msgspec.MsgspecError) as error:
        raise StateFileError(f"{path}: {error}") from error


def append_entries(path: Path, entries: Sequence[AuditEntry]) -> tuple[AuditEntry, ...]:
    """Append entries to an audit log with one link a line, each entry once.

    Returns:
        The entries that were not in the log yet.

    Raises:
        StateFileError: the file cannot be written, or is damaged.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path), path.open("ab") as file:
            links = read_links(path)
            known = {link.entry.id for link in links}
            last = links[-1] if links else None
            new = tuple({entry.id: entry for entry in entries if entry.id not in known}.values())
            for entry in new:
                last = chain_entry(entry, last)
                file.write(msgspec.json.encode(last) + b"\n")
            file.flush()
            os.fsync(file.fileno())
            return new
    except OSError as error:
        raise StateFileError(f"{path}: {error.strerror}") from error


def read_links(path: Path) -> tuple[ChainLink, ...]:
    """Read all links of an audit log; none when the file does not exist.

    Raises:
        StateFileError: a line is not a link.
    """
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return ()
    try:
        return tuple([msgspec.json.decode(line, type=ChainLink) for line in lines])
    except msgspec.MsgspecError as error:
        raise StateFileError(f"{path}: {error}") from error


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file as a whole or not at all, and wait until the new one is on the disk."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


class Leadership:
    """A lock that is held until the process ends or `close` is called."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def close(self) -> None:
        """Give up the lead, so that another process may take it."""
        os.close(self._descriptor)


def try_acquire_leadership(path: Path) -> Leadership | None:
    """Acquire the lead of an installation; None while another process holds it.

    Args:
        path: the state file; the lock is a file beside it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path.with_name(f".{path.name}.lead"), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return Leadership(descriptor)


@contextmanager
def locked(path: Path) -> Generator[None, None, None]:
    """Hold the lock of a file, which is a file of its own beside it."""
    descriptor = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
