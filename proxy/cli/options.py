"""Options that the comparator's commands share: the configuration they read, the store they open, how they print."""

import argparse
import asyncio
import os
import random
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from comparator.postgres import Connection
from comparator.settings import CompareSettings
from comparator.store.store import Store
from proxy.cli.output import CONFIG, add_config_option, print_json, print_line, print_remark
from proxy.config.loader import read_rules, read_settings
from proxy.config.settings import Settings
from proxy.errors import SettingsError

WITHOUT_CONFIG: Final = "databases: {store: '${SHADOW_STORE_DSN:-}'}"
"""Configuration to read without config.yaml and --config: options and the environment may be enough."""

_Result = TypeVar("_Result")


def add_common_options(parser: argparse.ArgumentParser, *, store: bool = False) -> None:
    """Add `--config`, `--rules`, `--json`, and `--store-dsn` for a command that reads the store."""
    add_config_option(parser)
    parser.add_argument(
        "--rules",
        type=Path,
        help="file with a section `compare:`; its members replace those of the configuration, each as a whole",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    if store:
        parser.add_argument("--store-dsn", default="", help="the store's database (default: databases.store)")


def read_configuration(args: argparse.Namespace, environ: Mapping[str, str] | None = None) -> Settings:
    """Read the configuration that the common options name; --store-dsn replaces `databases.store`.

    Raises:
        SettingsError: a file cannot be read, or it is wrong.
    """
    settings = _read(args, environ)
    dsn: str = getattr(args, "store_dsn", "")
    return (
        msgspec.structs.replace(settings, databases=msgspec.structs.replace(settings.databases, store=dsn))
        if dsn
        else settings
    )


def read_trial_rules(path: Path, args: argparse.Namespace) -> CompareSettings:
    """Read the section `compare:` as it would be with the members that a file has; print which come from where.

    Raises:
        SettingsError: a file cannot be read, or it is wrong.
    """
    before, own, after = _read(args).compare, read_rules(path, os.environ), _read(args, rules=(path,)).compare
    replaced = ", ".join(f"compare.{name}" for name in own) or "nothing"
    others = [name for name in before.__struct_fields__ if name not in own and _is_set(before, name)]
    kept = ", ".join(f"compare.{name}" for name in others) or "nothing"
    print_remark(f"from {path}: {replaced}\nfrom the configuration: {kept}")
    return after


def _read(
    args: argparse.Namespace, environ: Mapping[str, str] | None = None, *, rules: tuple[Path, ...] = ()
) -> Settings:
    default = WITHOUT_CONFIG if args.config == CONFIG else None
    return read_settings(args.config, environ, rules=((args.rules,) if args.rules else ()) + rules, default=default)


def _is_set(section: CompareSettings, name: str) -> bool:
    return getattr(section, name) != getattr(CompareSettings(), name)


def with_store(settings: Settings, work: Callable[[Connection], Awaitable[_Result]]) -> _Result:
    """Open the store, do `work` on a connection, close the store.

    Raises:
        SettingsError: no store is configured.
        StoreError: it does not answer.
    """
    if not settings.databases.store:
        raise SettingsError("databases.store: empty; set it in config.yaml (or SHADOW_STORE_DSN), or give --store-dsn")

    async def run() -> _Result:
        async with (
            Store(settings.databases.store, settings.store, random.SystemRandom()) as store,
            store.connection() as conn,
        ):
            return await work(conn)

    return asyncio.run(run())


def print_result(args: argparse.Namespace, value: object, text: str) -> None:
    """Print `value` as JSON with `--json`, else `text`."""
    if args.json:
        print_json(value)
    else:
        print_line(text)
