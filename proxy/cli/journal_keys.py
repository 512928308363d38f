"""`shadow journal keys list|add|retire`: rotate the key that seals the journal, without stopping anything."""

import argparse
import os
from pathlib import Path

from proxy.cli.exit_codes import Exit
from proxy.cli.output import print_line, print_remark
from proxy.config.journal import JournalSettings
from proxy.errors import JournalKeyError, SettingsError
from proxy.journal.key_usage import KeyUsage, usage_by_key
from proxy.journal.keys import ENVIRONMENT, add_key, list_keys, load_keys, retire_key


def configure(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """Add the actions; return their parsers."""
    actions = parser.add_subparsers(dest="key_action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="list the keys with what they seal, read and unread; never a secret")
    add = actions.add_parser(
        "add", help="make a new key and seal with it from the next segment on; older keys still open"
    )
    retire = actions.add_parser("retire", help="delete an older key, unless something unread is sealed with it")
    retire.add_argument("id", help="id of the key, as listed")
    retire.add_argument("--force", action="store_true", help="delete it in spite of that: what it sealed is lost")
    return [listing, add, retire]


def run(settings: JournalSettings, args: argparse.Namespace) -> int:
    """Run the action."""
    directory = Path(settings.directory)
    match args.key_action:
        case "list":
            return _list(directory)
        case "add":
            return _add(directory, settings)
        case _:
            return _retire(directory, args.id, force=args.force)


def _list(directory: Path) -> int:
    keys = load_keys(directory, os.environ)
    usage = usage_by_key(directory, keys)
    print_line(f"{'key':<10} {'state':<8} {'exchanges':>10} {'unread':>8}  place")
    for stored in list_keys(directory, os.environ):
        used = usage.pop(stored.id, KeyUsage())
        state = "active" if stored.active else "older"
        print_line(f"{stored.id:<10} {state:<8} {used.exchanges:>10} {used.unread:>8}  {stored.source}")
    for key_id, used in sorted(usage.items()):
        state = "missing" if key_id else "open"
        place = "cannot be read" if key_id else "not sealed: `shadow journal scan --rewrite` seals them"
        print_line(f"{key_id or '-':<10} {state:<8} {used.exchanges:>10} {used.unread:>8}  {place}")
    return Exit.DONE


def _add(directory: Path, settings: JournalSettings) -> int:
    if os.environ.get(ENVIRONMENT):
        raise SettingsError(
            f"the active key comes from {ENVIRONMENT}: put a new secret of 64 hexadecimal digits and a comma before it, first for the"
            " runners, then for the proxies, and restart them in this order"
        )
    added = add_key(directory)
    print_line(
        f"key {added} is active: each proxy seals with it from its next segment on, within {settings.segment_max_s:g} s or when it restarts."
        " Nothing has to be restarted for it"
    )
    return Exit.DONE


def _retire(directory: Path, key_id: str, *, force: bool) -> int:
    keys = load_keys(directory, os.environ)
    stored = [key for key in list_keys(directory, os.environ) if key.id == key_id]
    if not stored:
        raise JournalKeyError(f"no key {key_id} here; `shadow journal keys list` shows all")
    if keys.active.id == key_id:
        raise JournalKeyError(f"key {key_id} is the active one; `shadow journal keys add` makes another one first")
    used = usage_by_key(directory, keys).get(key_id, KeyUsage())
    if used.unread and not force:
        raise JournalKeyError(
            f"{used.unread} exchanges that a reader has not read yet are sealed with key {key_id}: let the runner read them, or"
            " `shadow journal scan --rewrite` them, or lose them with --force"
        )
    if used.exchanges:
        print_remark(f"{used.exchanges} exchanges can no longer be opened, {used.unread} of them unread")
    in_files = [key for key in stored if key.source != ENVIRONMENT]
    if in_files:
        retire_key(directory, key_id)
        print_line(f"key {key_id} is deleted")
    if len(in_files) < len(stored):
        print_line(f"take key {key_id} out of {ENVIRONMENT}, of the proxies and the runners")
    return Exit.DONE
