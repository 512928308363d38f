"""Whether the files that a command is to write can be made: asked before the work and not after it."""

from collections.abc import Mapping
from pathlib import Path

from proxy.replay.errors import OptionError


def check_outputs(names: Mapping[str, str | None]) -> None:
    """Look at the files that options name; none, and - for the standard output, are fine.

    Raises:
        OptionError: one is a folder, or its folder is not there.
    """
    for option, name in names.items():
        if not name or name == "-":
            continue
        path = Path(name)
        if path.is_dir():
            raise OptionError(f"{option} {name}: is a folder; name a file")
        if not path.parent.is_dir():
            raise OptionError(f"{option} {name}: there is no folder {path.parent}; make it first")
