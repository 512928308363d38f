"""Reads config.yaml and the process's environment: the one place of the commands that does."""

import os
from pathlib import Path

from proxy.errors import SettingsError
from proxy.settings import Settings, load


def read_settings(path: Path) -> Settings:
    """Settings from a file and the process's environment.

    Raises:
        SettingsError: the file cannot be read, or what it says is wrong.
    """
    try:
        raw = path.read_text()
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: not UTF-8 at byte {error.start}") from error
    if not raw.strip():
        # Read while somebody saves it, more likely than meant: every default would come into force.
        raise SettingsError(f"{path}: the file is empty")
    return load(raw, os.environ)
