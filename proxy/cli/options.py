"""Options that the comparator's commands share: the configuration they read, the store they open, how they print."""

import argparse
import asyncio
import os
import random
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from comparator.findings.clustering import FindingState
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


def add_triage(
    parser: argparse.ArgumentParser, noun: str, helps: Mapping[str, str]
) -> dict[str, argparse.ArgumentParser]:
    """Add what is done with findings and with causes: list, show, ack, fix and export, each with its arguments.

    Args:
        parser: the command's.
        noun: what is triaged, e.g. "finding".
        helps: the help of each action, by its name, and that of `--route`. A further action gets a parser without arguments.

    Returns:
        The parsers of all actions.
    """
    actions = parser.add_subparsers(dest="action", required=True)
    parsers = {name: actions.add_parser(name, help=text) for name, text in helps.items() if not name.startswith("--")}
    listing, one, ack, fix, export = (parsers[name] for name in ("list", "show", "ack", "fix", "export"))
    listing.add_argument("--route", default="", help=helps["--route"])
    listing.add_argument(
        "--state",
        action="append",
        choices=[state.value for state in FindingState],
        default=[],
        help="list only those in this state (repeatable)",
    )
    listing.add_argument("--limit", type=int, default=50, help=f"number of {noun}s to list (default: %(default)s)")
    fix.add_argument("--in", dest="release", default="", help="releases with the fix (default: those seen last)")
    export.add_argument("--to", type=Path, help="file to write (default: standard output)")
    export.add_argument("--example", type=int, default=0, help="number of the example, from 0 (default: %(default)s)")
    for chosen in (one, ack, fix, export):
        chosen.add_argument("id", help=f"id of the {noun}")
    for chosen in (ack, fix):
        chosen.add_argument("--reason", required=True, help=f"reason, stored with the {noun}")
        chosen.add_argument("--by", default="", help=f"name, stored with the {noun} (default: the login name)")
    for chosen in parsers.values():
        add_common_options(chosen, store=True)
    return parsers
