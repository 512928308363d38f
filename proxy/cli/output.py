"""Output of the commands, the same way in all of them.

Results go to the standard output, remarks and errors to the standard error. A command raises what goes wrong; only `proxy.cli.main`
prints errors, except where a command goes on after one.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from comparator.table_names import canonical_name
from proxy.replay.errors import OptionError

CONFIG: Final = Path("config.yaml")
UNSEAL_WARNING: Final = (
    "with --unseal the output has the clients' secrets in clear: passwords, tokens, keys; delete it when it is done"
)


def table_argument(text: str) -> str:
    """Return the canonical name of a table that an option names.

    Raises:
        argparse.ArgumentTypeError: the text does not name a table.
    """
    try:
        return canonical_name(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def add_config_option(parser: argparse.ArgumentParser) -> None:
    """Add `--config`."""
    parser.add_argument("--config", type=Path, default=CONFIG, help="configuration (default: %(default)s)")


def add_slice_option(parser: argparse.ArgumentParser) -> None:
    """Add `--slice`."""
    parser.add_argument("--slice", default="", metavar="NAME", help="the slice of runner.slices to work on")


def print_line(text: str, *, flush: bool = False) -> None:
    """Print a line, or lines, of the result; with `flush` it is seen before the command goes on."""
    sys.stdout.write(text + "\n")
    if flush:
        sys.stdout.flush()


def print_json(value: object) -> None:
    """Print a result as an indented JSON document."""
    print_line(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def print_remark(text: str) -> None:
    """Print a line on the standard error that is not part of the result."""
    sys.stderr.write(text + "\n")


def print_error(command: str, error: object) -> None:
    """Print an error: `shadow COMMAND: ERROR`."""
    print_remark(f"shadow {command}: {error}")


def check_outputs(names: Mapping[str, str | None]) -> None:
    """Check the files that options name, before the work, so that it is not lost; None and `-` are accepted.

    Args:
        names: file by option.

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
