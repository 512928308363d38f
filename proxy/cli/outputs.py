"""Checks the output files of a command before its work, so that the work is not lost."""

from collections.abc import Mapping
from pathlib import Path

from proxy.replay.errors import OptionError


def check_outputs(names: Mapping[str, str | None]) -> None:
    """Check the files that options name, by option; None and `-` for the standard output are accepted.

    Raises:
        OptionError: one is a folder, or its folder does not exist.
    """
    for option, name in names.items():
        if not name or name == "-":
            continue
        path = Path(name)
        if path.is_dir():
            raise OptionError(f"{option} {name}: is a folder; name a file")
        if not path.parent.is_dir():
            raise OptionError(f"{option} {name}: no folder {path.parent}; create it first")
