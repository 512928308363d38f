"""The version of the program: that of pyproject.toml in a checkout, else that of the installed package."""

import tomllib
from importlib import metadata
from pathlib import Path
from typing import Final

PACKAGE: Final = "shadow-scorer"
PYPROJECT: Final = Path(__file__).parents[2] / "pyproject.toml"


def version() -> str:
    """Return the version, e.g. `0.1.0`."""
    if PYPROJECT.exists():
        return str(tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["version"])
    return metadata.version(PACKAGE)
