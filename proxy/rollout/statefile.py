"""The last known states on this machine's disk, shared by its processes, and the audit log where there is no database.

Every write reads the file, merges and replaces it under a lock, so no process undoes another's change.
"""

import contextlib
import errno
import fcntl
import os
import threading
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from proxy.errors import StateFileError, SupersededError
from proxy.private_file import open_private, read_small
from proxy.rollout.audit import AuditEntry, ChainLink, chain_entry
from proxy.rollout.group_state import GroupState, States, merge_states

LOCK_WAIT_S: Final = 1.0
"""Time after which a lock that another process holds is given up."""
LOCK_POLL_S: Final = 0.005
BLOCK_BYTES: Final = 4096
LOG_MAX_BYTES: Final = 256 * 1024**2
"""Size of an audit log that is read whole: a line has less than a kilobyte."""
RESERVED_BYTES: Final = 4 * BLOCK_BYTES
"""Size of a state file, which is filled up with blanks, so that its replacement has its blocks before the disk is full."""

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

    def replace(self, changes: Sequence[tuple[GroupState, GroupState]], abandoned: threading.Event) -> None:
        """Store changes (known state, new state), all or none, unless something newer than the known states is stored.

        Args:
            changes: what was decided, and on which states.
            abandoned: set when the sender no longer waits for the result; then nothing is stored.

        Raises:
            SupersededError: something newer is stored.
            StateFileError: the file cannot be written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with locked(self.path):
                saved = self._contents()
                for known, _ in changes:
                    stored = saved.by_group.get(known.group)
                    if stored is not None and stored.rank > known.rank:
                        raise SupersededError(
                            f"{known.group}: another change came first: {stored.describe()}; look at it and decide again"
                        )
                saved = merge(saved, {new.group: new for _, new in changes}, add=(), stored=())
                write_atomically(self.path, msgspec.json.encode(saved), abandoned)
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
        return msgspec.json.decode(read_small(path), type=SavedStates)
    except (OSError, msgspec.MsgspecError, RecursionError) as error:
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
        with locked(path), open_private(path, "ab") as file:
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
        lines = read_small(path, LOG_MAX_BYTES).splitlines()
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise StateFileError(f"{path}: {error.strerror}") from error
    try:
        return tuple([msgspec.json.decode(line, type=ChainLink) for line in lines])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise StateFileError(f"{path}: {error}") from error


def write_atomically(path: Path, data: bytes, abandoned: threading.Event | None = None) -> None:
    """Replace a file as a whole or not at all, and wait until the new one is on the disk. The caller holds the lock.

    The new file is written over the blocks of the one before the last, which was kept as `.NAME.reserve` for that. So the file can be
    replaced on a full disk:

        switch.json (1)  .reserve (0)   write 2 over the reserve, fsync
        switch.json (1)  .reserve (2)   link .old to switch.json, rename .reserve to switch.json
        switch.json (2)  .old (1)       rename .old to .reserve

    The first one has none before it, and .spare takes the place of .old.

    Args:
        path: the file.
        data: JSON; blanks are added.
        abandoned: set when the result is not waited for any more; the file is not replaced then.

    Raises:
        OSError: the file was not replaced.
    """
    reserve, old, spare = (path.with_name(f".{path.name}.{role}") for role in ("reserve", "old", "spare"))
    old.unlink(missing_ok=True)
    size = max(RESERVED_BYTES, -(-(len(data) + 1) // BLOCK_BYTES) * BLOCK_BYTES)
    descriptor = os.open(reserve, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _write_all(descriptor, data.ljust(size - 1) + b"\n")
        os.ftruncate(descriptor, size)
        # (two inodes take turns, and the file system's own times are as coarse as 4 ms: a reader could take the third version for the first)
        now_ns = time.time_ns()
        os.utime(descriptor, ns=(now_ns, now_ns))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if abandoned is not None and abandoned.is_set():
        raise OSError(errno.ECANCELED, "its sender has given up")
    with contextlib.suppress(OSError):
        os.link(path, old)
    reserve.replace(path)
    for blocks in (spare, old):
        with contextlib.suppress(OSError):
            blocks.replace(reserve)


def reserve_blocks(path: Path) -> None:
    """Reserve the blocks for all replacements of a file, and make its lock, while the disk has room.

    Raises:
        OSError: the disk has no room, or cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path):
        for role in ("reserve",) if path.exists() else ("reserve", "spare"):
            blocks = path.with_name(f".{path.name}.{role}")
            if blocks.exists() and blocks.stat().st_size >= RESERVED_BYTES:
                continue
            descriptor = os.open(blocks, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                # (written, not only allocated: some file systems promise more than they have)
                _write_all(descriptor, b" " * RESERVED_BYTES)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _write_all(descriptor: int, data: bytes) -> None:
    view, offset = memoryview(data), 0
    while offset < len(view):
        offset += os.pwrite(descriptor, view[offset:], offset)


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
def locked(path: Path, *, wait_s: float = LOCK_WAIT_S) -> Generator[None, None, None]:
    """Hold the lock of a file, which is a file of its own beside it.

    Raises:
        OSError: the folder cannot be written; TimeoutError, a kind of it: another process has held the lock for `wait_s`.
    """
    lock = path.with_name(f".{path.name}.lock")
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _acquire(descriptor, lock, time.monotonic() + wait_s)
        yield
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, lock: Path, deadline: float) -> None:
    """Take the lock. A process that was stopped while it held the lock must not keep this one waiting for ever."""
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise TimeoutError(errno.ETIMEDOUT, f"another process holds {lock}") from None
            time.sleep(LOCK_POLL_S)
        else:
            return
