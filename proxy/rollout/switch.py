"""The on-call switch: serve from the legacy at once, whatever else is down, until an operator resumes.

A rollback takes effect in memory first and is stored then; a resume is stored first and takes effect then. The state is one small file
that the processes of a machine share: each polls it, and the sentinel file, a few times a second, and the higher version wins. A state
file that cannot be read counts as a rollback, because the legacy is the side that is known to be right.
"""

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from proxy.errors import SentinelFileError, SwitchNotStoredError
from proxy.rollout import statefile

logger = logging.getLogger(__name__)

POLL_S = 0.2


class SwitchState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The position of the switch, and the reason.

    Attributes:
        version: grows by one with each change.
        epoch: the rollout's epoch when the switch was turned on. A rollout that was resumed since, by a process that this one could
            not hear, has a later one.
        id: of the request, so that all processes log it as one entry.
    """

    rolled_back: bool = False
    version: int = 0
    epoch: int = 0
    at: str = ""
    actor: str = ""
    reason: str = ""
    id: str = ""


class Switch:
    """Keeps all clients on the legacy while it is turned on.

    Args:
        state_file: survives a restart.
        sentinel_file: turns the switch on while it exists; removing it does not resume.
        now: the clock.
    """

    def __init__(
        self,
        state_file: Path,
        sentinel_file: Path,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
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
        self._seen: statefile.FileVersion | None = None

    @property
    def rolled_back(self) -> bool:
        """True while the legacy serves all clients."""
        return self.state.rolled_back

    def on_change(self, changed: Callable[[SwitchState], None]) -> None:
        """Register the function to call after each change of `rolled_back`."""
        self._on_change = changed

    def load(self) -> None:
        """Load the state from the disk, and look for the sentinel file."""
        self.poll()

    def rollback(self, *, actor: str, reason: str, identity: str = "") -> SwitchState:
        """Serve from the legacy: now in memory, then on disk. A disk that fails is logged, and `poll` tries it again.

        Args:
            actor: the operator or the part of the program that rolls back.
            reason: for the audit log.
            identity: id of the request; "" generates one.
        """
        if self.state.rolled_back and self.stored:
            # Another process may have resumed since the last poll: then this is a new rollback, not one that is already in effect.
            self._read_file()
        already = self.state.rolled_back
        if already and self.stored:
            return self.state
        if not already:
            self._set(self._next_state(True, actor, reason, identity))
            logger.warning("rollback_started", extra={"actor": actor, "reason": reason})
        try:
            self._store(self.state)
        except OSError as error:
            self.stored = False
            logger.error("rollback_not_stored", extra={"path": str(self._path), "error": str(error)})
        return self.state

    def resume(self, *, actor: str, reason: str) -> SwitchState:
        """End the rollback.

        Raises:
            SentinelFileError: the sentinel file exists.
            SwitchNotStoredError: the state cannot be written, so that a restart would roll back again.
        """
        self.check_resumable()
        state = self._next_state(False, actor, reason)
        try:
            state = self._store(state)
        except OSError as error:
            raise SwitchNotStoredError(f"the state cannot be stored in {self._path}: {error.strerror}") from error
        self._set(state)
        logger.warning("rollback_ended", extra={"actor": actor, "reason": reason})
        return state

    def check_resumable(self) -> None:
        """Check that the rollback may end.

        Raises:
            SentinelFileError: the sentinel file exists.
        """
        if _exists(self._sentinel):
            raise SentinelFileError(
                f"remove {self._sentinel} first: while the file exists, the legacy serves all clients"
            )

    def poll(self) -> None:
        """Look at both files: another process or an operator may have changed them."""
        if not self.stored:
            self.rollback(actor=self.state.actor, reason=self.state.reason)
        self._read_file()
        if not self.state.rolled_back and _exists(self._sentinel):
            self.rollback(actor="sentinel file", reason=str(self._sentinel))

    def _read_file(self) -> None:
        try:
            stat = self._path.stat()
        except OSError:
            return
        seen = (stat.st_mtime_ns, stat.st_ino)
        if seen == self._seen:
            return
        self._seen = seen
        try:
            state = _read(self._path)
        except (OSError, msgspec.MsgspecError) as error:
            logger.error("switch_state_unreadable", extra={"path": str(self._path), "error": str(error)})
            state = self._next_state(True, "proxy", "state file unreadable")
        if state.version > self.state.version:
            self._set(state)

    def _next_state(self, rolled_back: bool, actor: str, reason: str, identity: str = "") -> SwitchState:
        at = self._now().isoformat()
        return SwitchState(
            rolled_back, self.state.version + 1, self.epoch, at, actor, reason, identity or f"{actor} {at}"
        )

    def _set(self, state: SwitchState) -> None:
        before, self.state = self.state, state
        if before.rolled_back != state.rolled_back:
            self._on_change(state)

    def _store(self, state: SwitchState) -> SwitchState:
        """Write the state with a version above the one on disk, and return it."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with statefile.locked(self._path):
            try:
                version = _read(self._path).version
            except (OSError, msgspec.MsgspecError):
                version = 0
            if version >= state.version:
                state = msgspec.structs.replace(state, version=version + 1)
            statefile.write_atomically(self._path, msgspec.json.encode(state))
        self.state = state if state.rolled_back == self.state.rolled_back else self.state
        self.stored = True
        return state


def _read(path: Path) -> SwitchState:
    return msgspec.json.decode(path.read_bytes(), type=SwitchState)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False
