"""Run promtool, which is in Debian's package `prometheus`."""

import shutil
import subprocess
from pathlib import Path


def program(name: str) -> str:
    """Return the path of a program of the package; fail with the command to install it if it is missing."""
    path = shutil.which(name)
    assert path, f"{name} is not on PATH: apt-get install prometheus"
    return path


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run promtool and wait until it exits."""
    command = [program("promtool"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
