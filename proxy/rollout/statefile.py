"""The last known state on this machine's disk, shared by its processes, and the audit log where there is no database.

Every write reads what is there, merges and replaces the file under a lock, so no process undoes another's.
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

Stamp: TypeAlias = tuple[int, int]


class SavedStates(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the file holds. `pending` are entries of the audit log that are not in the database yet."""

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
        self._seen: Stamp | None = None

    def read_if_changed(self) -> SavedStates | None:
        """What the file holds, None when it is as it was, or not there.

        Raises:
            StateFileError: it cannot be read; the next call says so only if it changed again.
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
        """Merge states and entries into the file, take out entries that were stored elsewhere; return what it holds now.

        Raises:
            StateFileError: the disk does not take it.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with locked(self.path):
                saved = merge(self._on_disk(), states, add=add, stored=stored)
                write_atomically(self.path, msgspec.json.encode(saved))
                return saved
        except OSError as error:
            raise StateFileError(f"{self.path}: {error.strerror}") from error

    def _on_disk(self) -> SavedStates:
        try:
            return read_states(self.path) if self.path.exists() else SavedStates()
        except StateFileError:
            # What cannot be read holds nothing that could be kept.
            return SavedStates()


def merge(saved: SavedStates, states: States, *, add: Iterable[AuditEntry], stored: Iterable[str]) -> SavedStates:
    """Pure: what the file is to hold."""
    entries = {entry.id: entry for entry in (*saved.pending, *add)}
    for identity in stored:
        entries.pop(identity, None)
    return SavedStates(tuple(merge_states(saved.by_group, states).values()), tuple(entries.values()))


def read_states(path: Path) -> SavedStates:
    """The file's contents.

    Raises:
        StateFileError: it cannot be read.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=SavedStates)
    except (OSError, msgspec.MsgspecError) as error:
        raise StateFileError(f"{path}: {error}") from error


def append_entries(path: Path, entries: Sequence[AuditEntry]) -> tuple[AuditEntry, ...]:
    """Add entries to a log of one link a line, each once; those that were not there yet.

    Raises:
        StateFileError: the disk does not take it, or the log there is damaged.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path), path.open("ab") as file:
            links = read_links(path)
            known = {link.entry.id for link in links}
            last = links[-1] if links else None
            fresh = tuple({entry.id: entry for entry in entries if entry.id not in known}.values())
            for entry in fresh:
                last = chain_entry(entry, last)
                file.write(msgspec.json.encode(last) + b"\n")
            file.flush()
            os.fsync(file.fileno())
            return fresh
    except OSError as error:
        raise StateFileError(f"{path}: {error.strerror}") from error


def read_links(path: Path) -> tuple[ChainLink, ...]:
    """All entries of a log; none when there is no file.

    Raises:
        StateFileError: a line is no link.
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
    """Put a new file in the place of an old one, wholly or not at all, and onto the disk."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with draft.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


class Leadership:
    """A lock that is held until the process ends or `close` is called."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def close(self) -> None:
        """Let somebody else lead."""
        os.close(self._descriptor)


def try_acquire_leadership(path: Path) -> Leadership | None:
    """The lead of an installation, None while another process has it."""
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
    """Hold a file's lock, which is a file of its own beside it."""
    descriptor = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
