"""Reads config.yaml and the process's environment: the one place of the commands that does."""

import os
from collections.abc import Callable
from pathlib import Path

from proxy.config.settings import Settings, load
from proxy.errors import SettingsError


def read_settings(path: Path) -> Settings:
    """Settings from a file and the process's environment.

    Raises:
        SettingsError: the file cannot be read, or what it says is wrong.
    """
    try:
        raw = path.read_text()
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}; --config names the configuration") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: not UTF-8 at byte {error.start}") from error
    if not raw.strip():
        # Read while somebody saves it, more likely than meant: every default would come into force.
        raise SettingsError(f"{path}: the file is empty")
    try:
        return load(raw, os.environ)
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from error


class SettingsFile:
    """A configuration file, and whether it is another one than when it was read last."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = _stamp(path)

    @property
    def changed(self) -> bool:
        """Whether it was written since `read`, or since this was made."""
        return _stamp(self._path) != self._seen

    def read(self) -> Settings:
        """Read it. A file that is wrong is not `changed` before it is written again.

        Raises:
            SettingsError: the file cannot be read, or what it says is wrong.
        """
        self._seen = _stamp(self._path)
        return read_settings(self._path)


def when_changed(path: Path) -> Callable[[], Settings | None]:
    """A function that returns the settings when the file has changed since the last call, else None.

    Raises (from the function):
        SettingsError: the changed file is wrong; it is not tried again until it changes once more.
    """
    file = SettingsFile(path)
    return lambda: file.read() if file.changed else None


def _stamp(path: Path) -> tuple[int, int, int]:
    """What another content does not share: a file that is replaced has another inode even where its time and size agree."""
    try:
        status = path.stat()
    except OSError:
        return (0, 0, 0)
    return (status.st_mtime_ns, status.st_size, status.st_ino)
