"""Runs promtool, which Debian's package `prometheus` brings."""

import shutil
import subprocess
from pathlib import Path


def program(name: str) -> str:
    """Where a program of the package is; fails, and says what to install, when it is missing."""
    found = shutil.which(name)
    assert found, f"{name} is not on PATH: apt-get install prometheus"
    return found


def promtool(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    command = [program("promtool"), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
