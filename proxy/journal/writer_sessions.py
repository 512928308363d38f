"""The processes that wrote to a writer's folder, and those of them that ended without closing it.

A process of the proxy that is killed takes with it the exchanges that were not on disk yet, and all requests in flight. The backends go
on with these, so live gets rows of which no exchange in the journal tells. Readers need to know when that may have been:

    w0/sessions     {"began_us": 100, "ended": false, "crashes": []}
    12:00:00.400    the process is killed: no process holds w0/lock, and the session has not ended
    12:00:01.200    its replacement takes the folder, and notes a crash between the last exchange on disk and now
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from proxy.journal.driver import UnjournaledPeriod
from proxy.journal.segments import LOCK, frames, is_locked, segments
from proxy.private_file import read_small, replace_private_file

SESSIONS: Final = "sessions"
CRASHES_MAX: Final = 32


class Crash(msgspec.Struct, frozen=True):
    """A process ended without closing its folder: after `alive_us` and before `gone_us`, Unix microseconds."""

    alive_us: int
    gone_us: int

    @property
    def period(self) -> UnjournaledPeriod:
        """The time of its last requests."""
        return UnjournaledPeriod(self.alive_us, self.gone_us)


class WriterSessions(msgspec.Struct, frozen=True):
    """The content of the file `sessions` of a writer's folder.

    Attributes:
        began_us: when the last process took the folder, Unix microseconds.
        ended: whether it has closed it.
        crashes: of the last processes that did not, oldest first.
    """

    began_us: int
    ended: bool = False
    crashes: tuple[Crash, ...] = ()


def load_sessions(folder: Path) -> WriterSessions | None:
    """Return the sessions of a writer's folder; None if they are not known."""
    try:
        return msgspec.json.decode(read_small(folder / SESSIONS), type=WriterSessions)
    except (OSError, msgspec.MsgspecError, RecursionError):
        return None


def begin_session(folder: Path, *, own_us: int = 0) -> int:
    """Note that this process, which holds the folder's lock, begins to write; and that the one before crashed, if it did.

    Args:
        folder: of the writer.
        own_us: when this process took the folder before; 0 for never.

    Returns:
        When it took the folder, Unix microseconds.

    Raises:
        OSError: it cannot be written.
    """
    now_us, before = time.time_ns() // 1_000, load_sessions(folder)
    crashes = before.crashes if before is not None else ()
    if before is not None and not before.ended and before.began_us != own_us:
        crashes = (*crashes, _crash(folder, before, now_us))[-CRASHES_MAX:]
    _store(folder, WriterSessions(now_us, crashes=crashes))
    return now_us


def end_session(folder: Path) -> None:
    """Note that this process has written everything.

    Raises:
        OSError: it cannot be written.
    """
    sessions = load_sessions(folder)
    if sessions is not None:
        _store(folder, msgspec.structs.replace(sessions, ended=True))


def last_alive_us(folder: Path, sessions: WriterSessions) -> int:
    """Return a time at which the last process still ran: when its last exchange on disk ended, or it began."""
    for path in reversed(segments(folder)):
        try:
            ended_ns = max((header.last_ended_ns for _, header in frames(path)), default=0)
        except OSError:
            continue
        if ended_ns:
            return max(sessions.began_us, ended_ns // 1_000)
    return sessions.began_us


def _crash(folder: Path, sessions: WriterSessions, gone_us: int) -> Crash:
    """Return the crash of the last process, which is gone now; it began at any time before where its clock was ahead."""
    alive_us = last_alive_us(folder, sessions)
    return Crash(next((us for us in (alive_us, sessions.began_us) if us <= gone_us), 0), gone_us)


class CrashWatch:
    """Find the crashes of the processes that write to a journal, at the moment at which they can be seen.

    Args:
        directory: of the journal.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._known: dict[str, tuple[tuple[int, int], WriterSessions | None]] = {}
        self._seen: dict[tuple[str, int], Crash] = {}

    def is_running(self, writer: str) -> bool:
        """Return whether a process holds the folder of a writer."""
        return is_locked(self._directory / writer / LOCK)

    def periods(self, names: Sequence[str]) -> list[UnjournaledPeriod]:
        """Return the times of the last requests of all processes that ended without closing their folder."""
        found: list[UnjournaledPeriod] = []
        for writer in names:
            running = self.is_running(writer)
            # (read behind the lock: a process that took the folder meanwhile has noted the crash, or will)
            sessions = self._sessions(writer)
            if sessions is None:
                continue
            found += [crash.period for crash in sessions.crashes]
            if not running and not sessions.ended:
                found.append(self._crash_of(writer, sessions).period)
        return found

    def _crash_of(self, writer: str, sessions: WriterSessions) -> Crash:
        place = (writer, sessions.began_us)
        if place not in self._seen:
            self._seen[place] = _crash(self._directory / writer, sessions, time.time_ns() // 1_000)
        return self._seen[place]

    def _sessions(self, writer: str) -> WriterSessions | None:
        folder = self._directory / writer
        try:
            status = (folder / SESSIONS).stat()
        except OSError:
            return None
        version = (status.st_ino, status.st_mtime_ns)
        if writer not in self._known or self._known[writer][0] != version:
            self._known[writer] = (version, load_sessions(folder))
        return self._known[writer][1]


def _store(folder: Path, sessions: WriterSessions) -> None:
    replace_private_file(folder / SESSIONS, msgspec.json.encode(sessions))
