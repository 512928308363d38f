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
from comparator.postgres import Connection
from comparator.settings import CompareSettings, StoreSettings
from comparator.store.store import Store

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
        "--rules",
        type=Path,
        help="file with a section `compare:`: what it has replaces what the configuration has there",
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
    whole = _configuration(args, env)
    store = dict(_mapping(whole, "store", args.config))
    store["dsn"] = (
        getattr(args, "store_dsn", "")
        or store.get("dsn")
        or _mapping(whole, "databases", args.config).get("store")
        or env.get("SHADOW_STORE_DSN", "")
    )
    return Sections(
        converted(_compare(args, env), CompareSettings, "compare"), converted(store, StoreSettings, "store")
    )


def read_rules(path: Path, args: argparse.Namespace) -> CompareSettings:
    """The section `compare:` as it would be with what a file has of it; say on the standard error what is whose.

    Raises:
        RuleError: with the path of what is wrong.
    """
    before, own = _compare(args, os.environ), _own_compare(path, os.environ)
    replaced = ", ".join(f"compare.{name}" for name in own)
    kept = ", ".join(f"compare.{name}" for name in before if name not in own)
    sys.stderr.write(f"as in {path}, whole: {replaced or 'nothing'}\nas configured: {kept or 'nothing'}\n")
    return converted({**before, **own}, CompareSettings, "compare")


def _configuration(args: argparse.Namespace, environ: Mapping[str, str]) -> dict[str, Any]:
    # Who names a file means it; without the usual one, options and the environment may say enough.
    return {} if args.config == CONFIG and not CONFIG.exists() else read_document(args.config, environ)


def _compare(args: argparse.Namespace, environ: Mapping[str, str]) -> dict[str, Any]:
    """The section `compare:` of the configuration, with what the file of `--rules` has instead."""
    configured = _mapping(_configuration(args, environ), "compare", args.config)
    return {**configured, **(_own_compare(args.rules, environ) if args.rules else {})}


def _own_compare(path: Path, environ: Mapping[str, str]) -> dict[str, Any]:
    """The section `compare:` of a file of rules, which is there for it."""
    document = read_document(path, environ)
    if "compare" not in document:
        raise RuleError(str(path), "has no section `compare:`, so there are no rules in it")
    return _mapping(document, "compare", path)


def _mapping(document: dict[str, Any], name: str, path: Path) -> dict[str, Any]:
    """A section that may be absent or empty."""
    section: object = document.get(name) or {}
    if not isinstance(section, dict):
        raise RuleError(f"{path}: {name}", "not a mapping")
    return cast("dict[str, Any]", section)


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
