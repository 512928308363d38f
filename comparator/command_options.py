"""What the comparator's subcommands have in common: options, the configuration they read, and how they print."""

import argparse
import asyncio
import os
import random
import re
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec
import yaml

from comparator.capture.settings import CaptureSettings
from comparator.errors import RuleError
from comparator.settings import CompareSettings, StoreSettings
from comparator.store import Store
from comparator.store_schema import Connection

CONFIG = Path("config.yaml")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Sections:
    """The sections of the configuration that the comparator knows."""

    compare: CompareSettings
    store: StoreSettings


def configure_common(parser: argparse.ArgumentParser, *, store: bool = False) -> None:
    """Add `--config`, `--rules`, `--json`, and `--store-dsn` where a store is read."""
    parser.add_argument("--config", type=Path, default=CONFIG, help="configuration (default: %(default)s)")
    parser.add_argument(
        "--rules", type=Path, help="file with a section `compare:` to use instead of the configuration's"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    if store:
        parser.add_argument("--store-dsn", default="", help="the store's database (default: as configured)")


def read_sections(args: argparse.Namespace, environ: Mapping[str, str] | None = None) -> Sections:
    """Read the sections that these options name.

    Raises:
        RuleError: a file is unreadable or a section is wrong, with the path of what is wrong.
    """
    env = os.environ if environ is None else environ
    # Who names a file means it; without the usual one, options and the environment may say enough.
    whole = {} if args.config == CONFIG and not CONFIG.exists() else read_document(args.config, env)
    compare = read_document(args.rules, env).get("compare", {}) if args.rules else whole.get("compare", {})
    store = dict(whole.get("store", {}))
    store["dsn"] = (
        getattr(args, "store_dsn", "")
        or store.get("dsn")
        or whole.get("databases", {}).get("store")
        or env.get("SHADOW_STORE_DSN", "")
    )
    return Sections(converted(compare, CompareSettings, "compare"), converted(store, StoreSettings, "store"))


def read_rules(path: Path) -> CompareSettings:
    """Read a file with a section `compare:`.

    Raises:
        RuleError: with the path of what is wrong.
    """
    return converted(read_document(path, os.environ).get("compare", {}), CompareSettings, "compare")


_Section = TypeVar("_Section", CompareSettings, StoreSettings, CaptureSettings)


def converted(raw: object, section: type[_Section], name: str) -> _Section:
    """Turn plain data into a section.

    Raises:
        RuleError: naming the path, e.g. `compare.rules[0].path`.
    """
    try:
        return msgspec.convert(raw, section)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at ")
        raise RuleError(place.strip("`").replace("$", name, 1) or name, message) from error


def read_document(path: Path, environ: Mapping[str, str]) -> dict[str, Any]:
    """The configuration as plain data, with what it takes from the environment filled in.

    Raises:
        RuleError: the file is unreadable or is no YAML mapping.
    """
    try:
        raw: object = yaml.safe_load(path.read_text())
    except OSError as error:
        raise RuleError(str(path), error.strerror or "cannot be read") from error
    except yaml.YAMLError as error:
        raise RuleError(str(path), f"not YAML: {error}") from error
    except (ValueError, RecursionError) as error:
        # A date that does not exist, a number of too many digits, bytes that are no text, nesting without end.
        raise RuleError(str(path), f"cannot be read: {error}") from error
    expanded = _expanded(raw if raw is not None else {}, environ)
    if not isinstance(expanded, dict):
        raise RuleError(str(path), "not a mapping")
    return cast("dict[str, Any]", expanded)


def _expanded(value: Any, environ: Mapping[str, str]) -> Any:
    """`${NAME}` and `${NAME:-default}` in every text."""
    if isinstance(value, str):
        return _VARIABLE.sub(lambda m: environ.get(m[1]) or m[2] or "", value)
    if isinstance(value, list):
        return [_expanded(item, environ) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {name: _expanded(item, environ) for name, item in cast("dict[str, Any]", value).items()}
    return value


def with_store(settings: StoreSettings, work: Callable[[Connection], Awaitable[_Result]]) -> _Result:
    """Open the store, do one piece of work on a connection, close it.

    Raises:
        RuleError: no store is configured.
        StoreError: it does not answer.
    """
    if not settings.dsn:
        raise RuleError("databases.store", "empty; set it in config.yaml (or SHADOW_STORE_DSN), or give --store-dsn")

    async def run() -> _Result:
        async with Store(settings, random.SystemRandom()) as store, store.connection() as conn:
            return await work(conn)

    return asyncio.run(run())


def show(args: argparse.Namespace, value: object, text: str) -> None:
    """Print `value` as JSON if asked for, else `text`."""
    line = msgspec.json.format(msgspec.json.encode(value), indent=2).decode() if args.json else text
    sys.stdout.write(line + "\n")
