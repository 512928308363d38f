"""The on-call switch: back to the legacy at once, whatever else is down, and so until a person resumes.

A rollback takes effect in memory first and is stored then; resuming is stored first and takes effect then. The state is one small
file that several processes share: each looks at it (and at the sentinel file) a few times a second, and the higher version wins.
A state file that cannot be read counts as a rollback: the legacy is the side that is known to be right.
"""

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from proxy.errors import SwitchError
from proxy.rollout import statefile

logger = logging.getLogger(__name__)

POLL_S = 0.2


class SwitchState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the switch says and why. `version` grows by one with each change.

    `epoch` is the rollout's when the switch was turned on: a rollout that was resumed since, by someone this proxy could not hear,
    has a later one.
    """

    rolled_back: bool = False
    version: int = 0
    epoch: int = 0
    at: str = ""
    actor: str = ""
    reason: str = ""
    id: str = ""
    """Of the request, so that all processes note it as one."""


class Switch:
    """Holds whether clients are kept on the legacy.

    Args:
        state_file: survives a restart.
        sentinel_file: while it exists, the switch is on; removing it does not resume.
        now: the clock of the stamps in the state.
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
        """Whether the state in memory is the one on disk."""
        self.epoch = 0
        """The rollout's epoch, noted with each change."""
        self._path = state_file
        self._sentinel = sentinel_file
        self._changed: Callable[[SwitchState], None] = lambda _: None
        self._now = now
        self._seen: tuple[int, int] | None = None

    @property
    def rolled_back(self) -> bool:
        """Whether the legacy serves everybody."""
        return self.state.rolled_back

    def on_change(self, changed: Callable[[SwitchState], None]) -> None:
        """Have `changed` called after each change of `rolled_back`."""
        self._changed = changed

    def load(self) -> None:
        """Take the stored state, and the sentinel file's."""
        self.poll()

    def rollback(self, *, actor: str, reason: str, identity: str = "") -> SwitchState:
        """Serve from the legacy: now in memory, then on disk. A disk that fails is logged and tried again by `poll`."""
        if self.state.rolled_back and self.stored:
            # Another process may have resumed since the last look: then this is a new rollback, and not one that is there already.
            self._adopt()
        already = self.state.rolled_back
        if already and self.stored:
            return self.state
        if not already:
            self._take(self._changed_to(True, actor, reason, identity))
            logger.warning("rollback", extra={"actor": actor, "reason": reason})
        try:
            self._store(self.state)
        except OSError as error:
            self.stored = False
            logger.error("rollback_not_stored", extra={"path": str(self._path), "error": str(error)})
        return self.state

    def resume(self, *, actor: str, reason: str) -> SwitchState:
        """End the rollback.

        Raises:
            SwitchError: the sentinel file is still there, or the state cannot be stored (a restart would roll back again).
        """
        self.check_resumable()
        state = self._changed_to(False, actor, reason)
        try:
            state = self._store(state)
        except OSError as error:
            raise SwitchError(f"the state cannot be stored in {self._path}: {error.strerror}") from error
        self._take(state)
        logger.warning("resume", extra={"actor": actor, "reason": reason})
        return state

    def check_resumable(self) -> None:
        """Nothing if the rollback could end.

        Raises:
            SwitchError: the sentinel file is still there.
        """
        if _exists(self._sentinel):
            raise SwitchError(f"remove {self._sentinel} first: while it exists the legacy serves")

    def poll(self) -> None:
        """Look at both files: another process or a person may have changed them."""
        if not self.stored:
            self.rollback(actor=self.state.actor, reason=self.state.reason)
        self._adopt()
        if not self.state.rolled_back and _exists(self._sentinel):
            self.rollback(actor="sentinel file", reason=str(self._sentinel))

    def _adopt(self) -> None:
        try:
            stat = self._path.stat()
        except OSError:
            return
        seen = (stat.st_mtime_ns, stat.st_ino)
        if seen == self._seen:
            return
        self._seen = seen
        try:
            found = _read(self._path)
        except (OSError, msgspec.MsgspecError) as error:
            logger.error("switch_state_unreadable", extra={"path": str(self._path), "error": str(error)})
            found = self._changed_to(True, "proxy", "state file unreadable")
        if found.version > self.state.version:
            self._take(found)

    def _changed_to(self, rolled_back: bool, actor: str, reason: str, identity: str = "") -> SwitchState:
        at = self._now().isoformat()
        return SwitchState(
            rolled_back, self.state.version + 1, self.epoch, at, actor, reason, identity or f"{actor} {at}"
        )

    def _take(self, state: SwitchState) -> None:
        before, self.state = self.state, state
        if before.rolled_back != state.rolled_back:
            self._changed(state)

    def _store(self, state: SwitchState) -> SwitchState:
        """Write the state, above the version on disk."""
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
