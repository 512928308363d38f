"""The on-call switch: serve from the legacy at once, whatever else is down, until an operator resumes.

A rollback takes effect in memory first and is stored then, by a thread: a disk that hangs or is full delays neither the rollback nor the
clients. A resume is stored first and takes effect then; it ends the one rollback that it was decided on, and is refused when a newer one
is known here or on disk. The state is one small file that the processes of a machine share: each polls it, and the sentinel file, a few
times a second, and the higher version wins. A state file that cannot be read counts as a rollback, because the legacy is the side that is
known to be right.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec

from proxy.errors import RolloutError, SentinelFileError, SupersededError, SwitchError, SwitchNotStoredError
from proxy.private_file import read_small
from proxy.rollout import statefile
from proxy.rollout.disk import Disks

logger = logging.getLogger(__name__)

POLL_S = 0.2
STORE_S = 2.0
"""Time that a resume waits for the disk, which it needs."""


class SwitchState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The position of the switch, and the reason.

    Attributes:
        version: grows by one with each change.
        epoch: the rollout's epoch when the switch was turned on. A rollout that was resumed since, by a process that this one could
            not hear, has a later one.
        id: of the request, so that all processes log it as one entry, and a resume can name the rollback that it ends.
    """

    rolled_back: bool = False
    version: int = 0
    epoch: int = 0
    at: str = ""
    actor: str = ""
    reason: str = ""
    id: str = ""


@dataclass(frozen=True, slots=True)
class _Look:
    """The result of looking at both files.

    Attributes:
        seen: version of the state file; None while it does not exist.
        state: its content, if it has changed.
        error: why the changed file cannot be read.
        sentinel: names the sentinel file as it is now, the same way in every process of the machine; None while it does not exist.
    """

    seen: statefile.FileVersion | None
    state: SwitchState | None
    error: str | None
    sentinel: str | None


class Switch:
    """Keeps all clients on the legacy while it is turned on.

    Args:
        state_file: survives a restart.
        sentinel_file: turns the switch on while it exists; removing it does not resume.
        now: the clock.
        disks: where files are read and written; by default at once.
    """

    def __init__(
        self,
        state_file: Path,
        sentinel_file: Path,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        disks: Disks | None = None,
    ) -> None:
        self.state = SwitchState()
        self.stored = True
        """True when the state in memory is the one on disk."""
        self.epoch = 0
        """The rollout's present epoch, noted with each change."""
        self._path = state_file
        self._sentinel = sentinel_file
        self._on_change: Callable[[SwitchState], None] = lambda _: None
        self._now = now
        self._disks = disks or Disks.inline()
        self._seen: statefile.FileVersion | None = None
        self._looking = self._storing = self._following = False
        self._failed = False
        """True while the disk fails, which is logged once."""
        self._stored_event = asyncio.Event()
        self._stored_event.set()

    @property
    def rolled_back(self) -> bool:
        """True while the legacy serves all clients."""
        return self.state.rolled_back

    def on_change(self, changed: Callable[[SwitchState], None]) -> None:
        """Register the function to call after each change of `rolled_back`."""
        self._on_change = changed

    def load(self) -> None:
        """Load the state from the disk, look for the sentinel file, and reserve room for a rollback: before clients are served."""
        self._looked(self._look(self._seen))
        try:
            statefile.reserve_blocks(self._path)
        except OSError as error:
            logger.warning("switch_not_reserved", extra={"path": str(self._path), "error": str(error)})

    def rollback(self, *, actor: str, reason: str, identity: str = "") -> SwitchState:
        """Serve from the legacy: now in memory, then on disk. A disk that fails is logged, and `poll` tries it again.

        A rollback while it is rolled back already is a newer one: a resume that was decided on before does not end it.

        Args:
            actor: the operator or the part of the program that rolls back.
            reason: for the audit log.
            identity: id of the request, which may arrive several times; "" generates one.
        """
        if self.state.rolled_back and identity == self.state.id:
            return self.state
        self._set(self._next_state(True, actor, reason, identity))
        logger.warning("rollback_started", extra={"actor": actor, "reason": reason})
        self.stored = False
        self._stored_event.clear()
        self._store()
        return self.state

    async def wait_until_stored(self, timeout_s: float) -> bool:
        """Wait until the state in memory is the one on disk, at most so long; return whether it is."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._stored_event.wait()
        except TimeoutError:
            pass
        return self.stored

    async def resume(self, *, actor: str, reason: str, ends: SwitchState | None = None) -> SwitchState:
        """End the rollback.

        Args:
            actor: the operator.
            reason: for the audit log.
            ends: the rollback that the operator has decided to end; None is the present one.

        Raises:
            SentinelFileError: the sentinel file exists.
            SwitchNotStoredError: the state cannot be written, so that a restart would roll back again.
            SupersededError: there is a newer rollback, which holds.
        """
        known = ends or self.state
        state = self._next_state(False, actor, reason)
        abandoned = threading.Event()
        try:
            written = await self._disks.switch.run(
                partial(self._write_resume, state, known, abandoned), timeout_s=STORE_S
            )
        except OSError as error:
            abandoned.set()
            raise SwitchNotStoredError(f"the state cannot be stored in {self._path}: {error.strerror}") from error
        self._resumed(written, known)
        return written

    def follow_resume(self, *, actor: str, reason: str) -> None:
        """End the rollback because it was resumed elsewhere; what forbids it is logged."""
        if self._following:
            return
        self._following = True
        known, state = self.state, self._next_state(False, actor, reason)

        def followed(written: SwitchState) -> None:
            self._following = False
            try:
                self._resumed(written, known)
            except SupersededError as error:
                not_followed(error)

        def not_followed(error: Exception) -> None:
            self._following = False
            if not isinstance(error, (OSError, SwitchError, RolloutError)):
                raise error
            logger.error("resume_not_followed", extra={"error": str(error)})

        self._disks.switch.submit(partial(self._write_resume, state, known, None), followed, not_followed)

    async def check_resumable(self) -> None:
        """Check that the rollback may end.

        Raises:
            SentinelFileError: the sentinel file exists.
            SwitchNotStoredError: the disk does not answer.
        """
        try:
            await self._disks.reading.run(self._check_sentinel, timeout_s=STORE_S)
        except OSError as error:
            raise SwitchNotStoredError(f"cannot look for {self._sentinel}: {error.strerror}") from error

    def poll(self) -> None:
        """Look at both files: another process or an operator may have changed them. Store what could not be stored yet."""
        if not self.stored:
            self._store()
        if not self._looking:
            self._looking = True
            self._disks.reading.submit(partial(self._look, self._seen), self._looked, self._look_failed)

    # Reading. `_look` may run in a thread, and changes nothing.

    def _look(self, seen: statefile.FileVersion | None) -> _Look:
        sentinel = _identity_of(self._sentinel)
        try:
            stat = self._path.stat()
        except OSError:
            return _Look(seen, None, None, sentinel)
        version = (stat.st_mtime_ns, stat.st_ino)
        if version == seen:
            return _Look(version, None, None, sentinel)
        try:
            return _Look(version, _read(self._path), None, sentinel)
        except (OSError, msgspec.MsgspecError, RecursionError) as error:
            return _Look(version, None, str(error), sentinel)

    def _looked(self, look: _Look) -> None:
        self._looking = False
        self._seen = look.seen
        state = look.state
        if look.error is not None:
            logger.error("switch_state_unreadable", extra={"path": str(self._path), "error": look.error})
            state = self._next_state(True, "proxy", "state file unreadable", f"{self._path} {look.seen}")
        # A rollback that waits for the disk is newer than everything there: the write will give it a higher version.
        if state is not None and state.version > self.state.version and self.stored:
            self._set(state)
        if not self.state.rolled_back and look.sentinel is not None:
            self.rollback(actor="sentinel file", reason=str(self._sentinel), identity=look.sentinel)

    def _look_failed(self, error: Exception) -> None:
        self._looking = False
        logger.error("switch_state_unreadable", extra={"path": str(self._path), "error": str(error)})

    # Writing. `_write` and `_write_resume` may run in a thread, and change nothing but the file.

    def _store(self) -> None:
        """Write the rollback in memory. While the disk hangs one write is under way, and the newest state is written after it."""
        if not self._storing and self.state.rolled_back:
            self._storing = True
            self._disks.switch.submit(partial(self._write, self.state), self._was_stored, self._was_not_stored)

    def _was_stored(self, written: SwitchState) -> None:
        self._storing = self._failed = False
        if self.state.rolled_back and written.id != self.state.id:
            # (it was rolled back once more meanwhile)
            self._store()
            return
        if written.id == self.state.id:
            self.state = written
        self.stored = True
        self._stored_event.set()

    def _was_not_stored(self, error: Exception) -> None:
        self._storing = False
        if not isinstance(error, OSError):
            raise error
        if not self._failed:
            logger.error("rollback_not_stored", extra={"path": str(self._path), "error": str(error)})
        self._failed = True

    def _write(self, state: SwitchState) -> SwitchState:
        """Write a rollback with a version above the one on disk, and return it."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with statefile.locked(self._path):
            before = _read_or_none(self._path)
            if before is not None and before.rolled_back and before.id == state.id:
                # Another process has stored the same request.
                return before
            state = _above(state, before)
            statefile.write_atomically(self._path, msgspec.json.encode(state))
            return state

    def _write_resume(self, state: SwitchState, known: SwitchState, abandoned: threading.Event | None) -> SwitchState:
        self._check_sentinel()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with statefile.locked(self._path):
            before = _read_or_none(self._path)
            if before is not None and before.rolled_back and before.version > known.version and before.id != known.id:
                raise _superseded_by(before)
            state = _above(state, before)
            statefile.write_atomically(self._path, msgspec.json.encode(state), abandoned)
            return state

    def _check_sentinel(self) -> None:
        if _identity_of(self._sentinel) is not None:
            raise SentinelFileError(
                f"remove {self._sentinel} first: while the file exists, the legacy serves all clients"
            )

    def _resumed(self, written: SwitchState, known: SwitchState) -> None:
        if self.state.rolled_back and self.state.id != known.id:
            # It was rolled back while the end of the rollback before was being written: that write is superseded by the next one.
            raise _superseded_by(self.state)
        if written.version > self.state.version:
            self._set(written)
        self.stored = True
        self._stored_event.set()
        logger.warning("rollback_ended", extra={"actor": written.actor, "reason": written.reason})

    def _next_state(self, rolled_back: bool, actor: str, reason: str, identity: str = "") -> SwitchState:
        at = self._now().isoformat()
        return SwitchState(
            rolled_back, self.state.version + 1, self.epoch, at, actor, reason, identity or f"{actor} {at}"
        )

    def _set(self, state: SwitchState) -> None:
        before, self.state = self.state, state
        if before.rolled_back != state.rolled_back:
            self._on_change(state)


def _superseded_by(state: SwitchState) -> SupersededError:
    why = f": {state.reason}" if state.reason else ""
    return SupersededError(
        f"there is a newer rollback, by {state.actor} at {state.at}{why}; resume again to end that one"
    )


def _above(state: SwitchState, before: SwitchState | None) -> SwitchState:
    version = before.version if before else 0
    return msgspec.structs.replace(state, version=version + 1) if version >= state.version else state


def _read(path: Path) -> SwitchState:
    return msgspec.json.decode(read_small(path), type=SwitchState)


def _read_or_none(path: Path) -> SwitchState | None:
    try:
        return _read(path)
    except (OSError, msgspec.MsgspecError, RecursionError):
        return None


def _identity_of(sentinel: Path) -> str | None:
    try:
        return f"{sentinel} {sentinel.stat().st_mtime_ns}"
    except OSError:
        return None
