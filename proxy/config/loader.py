"""The one loader of config.yaml: every command reads its settings here.

`load` is pure: YAML text and environment in, settings out. `read_settings` reads a file and the environment of the process.
The steps are `document` (YAML, variables), `conversion` (types) and `checks` (what types cannot express).
"""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from proxy.config.checks import check
from proxy.config.conversion import convert
from proxy.config.document import TEXT_MAX, read_document
from proxy.config.settings import Settings
from proxy.errors import InputFileError, SettingsError
from proxy.input_file import read_input_text

T = TypeVar("T")

BYTES_MAX = 4 * TEXT_MAX
"""Bytes of a file that are read: a character of UTF-8 has at most 4."""


def load(text: str, environ: Mapping[str, str], *, compare: Mapping[str, Any] | None = None) -> Settings:
    """Return the settings that a YAML text holds.

    Args:
        text: the content of config.yaml.
        environ: the variables that `${NAME}` and `${NAME:-default}` may name.
        compare: members that replace those of the section `compare:`, each as a whole; from `read_rules`.

    Raises:
        SettingsError: with the place of what is wrong, e.g. `routes[3] (v2_score).sample`.
    """
    document = read_document(text, environ)
    if compare:
        document["compare"] = {**(document.get("compare") or {}), **compare}
    settings = convert(document, Settings)
    check(settings)
    return settings


def read_settings(
    path: Path, environ: Mapping[str, str] | None = None, *, rules: Sequence[Path] = (), default: str | None = None
) -> Settings:
    """Return the settings of a file.

    Args:
        path: config.yaml.
        environ: the variables that the file may name; by default those of the process.
        rules: more files, whose members of `compare:` replace those before, each as a whole.
        default: the text to read where there is no file at `path`; without it a file is required.

    Raises:
        SettingsError: a file cannot be read, or it is wrong; the message begins with its path.
    """
    variables = os.environ if environ is None else environ
    text = default if default is not None and not path.exists() else _text(path)
    settings = _named(path, partial(load, text, variables))
    compare: dict[str, Any] = {}
    for file in rules:
        compare = {**compare, **read_rules(file, variables)}
        # (one file after the other, so that the error names the one that is wrong)
        settings = _named(file, partial(load, text, variables, compare=compare))
    return settings


def read_rules(path: Path, environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the members of the section `compare:` that a file of rules has, as plain data.

    Raises:
        SettingsError: the file cannot be read, or has no such section; the message begins with its path.
    """
    text = _text(path)
    document = _named(path, partial(read_document, text, environ))
    if not isinstance(document.get("compare"), dict):
        raise SettingsError(f"{path}: there is no section `compare:` with rules in it")
    return document["compare"]


class SettingsFile:
    """A configuration file that may change."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = _stamp(path)

    @property
    def changed(self) -> bool:
        """True once the file was written since the last `read`, or since this object was made."""
        return _stamp(self._path) != self._seen

    def read(self) -> Settings:
        """Read the settings. A file that is wrong counts as read: it is not `changed` until it is written again.

        Raises:
            SettingsError: the file cannot be read, or it is wrong.
        """
        self._seen = _stamp(self._path)
        return read_settings(self._path)


def when_changed(path: Path) -> Callable[[], Settings | None]:
    """Return a function that returns the settings when the file has changed since its last call, else None.

    Raises (from the function):
        SettingsError: the changed file is wrong; it is not tried again until it changes once more.
    """
    file = SettingsFile(path)
    return lambda: file.read() if file.changed else None


def _text(path: Path) -> str:
    try:
        text = read_input_text(path, max_bytes=BYTES_MAX)
    except InputFileError as error:
        remedy = "; name the configuration with --config" if isinstance(error.__cause__, OSError) else ""
        raise SettingsError(f"{error}{remedy}") from error
    if not text.strip():
        # An editor is saving it, more likely than not: every default would come into force.
        raise SettingsError(f"{path}: the file is empty")
    return text


def _named(path: Path, read: Callable[[], T]) -> T:
    """Return what `read` does, with the file's path in front of its errors."""
    try:
        return read()
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from error


def _stamp(path: Path) -> tuple[int, int, int]:
    """Return what changes with the content: time, size, and the inode, which differs when a file is replaced."""
    try:
        status = path.stat()
    except OSError:
        return (0, 0, 0)
    return (status.st_mtime_ns, status.st_size, status.st_ino)
