"""`shadow journal`: inspect, verify, scan, prune, export, import and ship a journal, also while it is being written; and its keys."""

import argparse
import asyncio
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from proxy.cli import journal_keys, journal_scan, journal_ship, journal_transfer
from proxy.cli.exit_codes import Exit
from proxy.cli.output import UNSEAL_WARNING, add_config_option, print_line, print_remark
from proxy.config.journal import JournalSettings
from proxy.config.loader import read_settings
from proxy.config.routes import RouteSettings
from proxy.config.settings import Settings
from proxy.errors import JournalFormatError, SealedError, SettingsError
from proxy.journal import retention
from proxy.journal.format import FrameHeader, Record, exchange_of
from proxy.journal.keys import available_keys, new_secret
from proxy.journal.redaction import JournalRedactor
from proxy.journal.sealing import JournalKeys, key_id_of, key_of, records_of, unseal
from proxy.journal.segments import (
    LOCK,
    all_committed,
    backlog,
    frames,
    is_locked,
    read_payload,
    require_journal,
    segment_fault,
    segments,
    writers,
)
from proxy.recordings.ndjson import document_of_exchange

TAIL_POLL_S = 0.2


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_config_option(parser)
    parser.add_argument(
        "--directory", type=Path, help="the journal's folder (default: journal.directory of the configuration)"
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("ls", help="list segments with exchanges, bytes, times")
    for name, text in (
        ("cat", "print every exchange as a line of JSON"),
        ("tail", "print each new exchange as a line of JSON"),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument("--unseal", action="store_true", help="show secrets in clear")
        action.add_argument("--route", default="", help="only this route")
        action.add_argument("--key", default="", help="only this ordering key")
        action.add_argument("--limit", type=int, default=0, help="stop after this number")
    actions.add_parser("stats", help="print counts by route, side and status, sizes, and the backlog of each reader")
    actions.add_parser("verify", help="check every checksum; exit code 1 for damaged or missing exchanges")
    journal_transfer.configure_export(
        actions.add_parser("export", help="write all exchanges in another program's format")
    )
    journal_transfer.configure_import(actions.add_parser("import", help="append another program's recording"))
    journal_scan.configure(
        actions.add_parser("scan", help="count the secrets by place and kind; --rewrite removes them")
    )
    journal_ship.configure(
        actions.add_parser(
            "ship", help="send the spool to the broker of a shared journal, as the proxy does; --status shows it"
        )
    )
    prune = actions.add_parser("prune", help="apply the retention now")
    prune.add_argument("--forget-reader", default="", help="first delete the offset of a reader that is gone for good")
    key_actions = journal_keys.configure(
        actions.add_parser("keys", help="list, add and retire the keys of the journal")
    )
    for action in (*actions.choices.values(), *key_actions):
        # After the action too, where all other commands have them; an option before it is kept.
        action.add_argument("--config", type=Path, default=argparse.SUPPRESS, help="default: config.yaml")
        action.add_argument("--directory", type=Path, default=argparse.SUPPRESS, help="default: as configured")


def run(args: argparse.Namespace) -> int:
    """Run the action."""
    if args.action == "ship":
        return journal_ship.run(_shipped_settings(args), args)
    settings, routes = _settings(args)
    directory = Path(settings.directory)
    if args.action != "import":
        require_journal(directory)
    actions: dict[str, Callable[[], int]] = {
        "ls": lambda: _ls(directory),
        "cat": lambda: _cat(directory, _View(args, directory, settings)),
        "tail": lambda: asyncio.run(_tail(directory, _View(args, directory, settings))),
        "stats": lambda: _stats(directory),
        "verify": lambda: _verify(directory),
        "scan": lambda: journal_scan.scan(directory, settings, rewrite=args.rewrite),
        "keys": lambda: journal_keys.run(settings, args),
        "export": lambda: journal_transfer.export(directory, settings, args),
        "import": lambda: journal_transfer.import_(settings, routes, args),
        "prune": lambda: _prune(directory, settings, args.forget_reader),
    }
    return actions[args.action]()


def _settings(args: argparse.Namespace) -> tuple[JournalSettings, Sequence[RouteSettings]]:
    # A folder can be inspected without a configuration; where there is one, it names further secrets.
    if args.directory is not None and not args.config.exists():
        return JournalSettings(directory=str(args.directory)), ()
    try:
        settings = read_settings(args.config)
    except SettingsError as error:
        if args.directory is not None and args.action != "import":
            print_remark(f"{error}; secrets are recognised by the defaults")
            return JournalSettings(directory=str(args.directory)), ()
        raise SettingsError(
            f"{error}, or the journal with --directory" if not args.config.exists() else str(error)
        ) from error
    changes = {"directory": str(args.directory)} if args.directory is not None else {}
    return msgspec.structs.replace(settings.journal, **changes), settings.routes


def _shipped_settings(args: argparse.Namespace) -> Settings:
    settings = read_settings(args.config)
    if args.directory is None:
        return settings
    journal = msgspec.structs.replace(settings.journal, directory=str(args.directory))
    return msgspec.structs.replace(settings, journal=journal)


class _View:
    """Show the exchanges that the options select, with or without their secrets."""

    def __init__(self, args: argparse.Namespace, directory: Path, settings: JournalSettings) -> None:
        self.keys = available_keys(directory, os.environ)
        self.limit: int = args.limit
        self._route, self._key = args.route, args.key.lower()
        if args.unseal:
            print_remark(UNSEAL_WARNING)
        # (without a key nothing can be opened, and what earlier versions left open gets digests of a passing key)
        key = self.keys.active if self.keys else key_of(new_secret())
        self._redactor = None if args.unseal else JournalRedactor(settings.redaction, key)

    def show(self, record: Record) -> int:
        """Print a record if it is to be shown; return how many were."""
        if (self._route and record.route != self._route) or (self._key and record.key != self._key):
            return 0
        exchange = exchange_of(self._redactor.redact(record) if self._redactor else record)
        print_line(json.dumps(document_of_exchange(exchange), ensure_ascii=False))
        return 1


def _time(ns: int) -> str:
    return datetime.fromtimestamp(ns / 1e9, UTC).isoformat(timespec="milliseconds")


def _paths(directory: Path) -> list[Path]:
    return [path for writer in writers(directory) for path in segments(directory / writer)]


def _ls(directory: Path) -> int:
    print_line(f"{'segment':<32} {'exchanges':>10} {'bytes':>12}  last exchange")
    for path in _paths(directory):
        fault = segment_fault(path)
        if fault:
            print_line(f"{path.parent.name}/{path.name:<29} {'-':>10} {path.stat().st_size:>12}  {fault}")
            continue
        headers = [header for _, header in frames(path)]
        count = sum(header.count for header in headers)
        last = _time(headers[-1].last_ended_ns) if headers else "-"
        print_line(f"{path.parent.name}/{path.name:<29} {count:>10} {path.stat().st_size:>12}  {last}")
    return Exit.DONE


def _cat(directory: Path, view: _View) -> int:
    shown = 0
    damage: list[str] = []
    for record in _records(directory, view.keys, damage):
        shown += view.show(record)
        if view.limit and shown >= view.limit:
            break
    return _print_damage(damage)


async def _tail(directory: Path, view: _View) -> int:
    """Print exchanges as they arrive, until interrupted or `--limit`."""
    offsets = {path: _end(path) for path in _paths(directory)}
    shown = 0
    while True:
        for path in _paths(directory):
            for offset, header in frames(path, offset=offsets.get(path, 0)):
                payload = read_payload(path, offset, header)
                offsets[path] = offset + header.size
                for record in _opened(header, payload, view.keys) if payload is not None else ():
                    shown += view.show(record)
                    if view.limit and shown >= view.limit:
                        return Exit.DONE
        sys.stdout.flush()
        await asyncio.sleep(TAIL_POLL_S)


def _opened(header: FrameHeader, payload: bytes, keys: JournalKeys | None) -> list[Record]:
    """Return the records of a frame, with what earlier versions sealed in them.

    Raises:
        SealedError: the key is not here.
    """
    return [unseal(record, keys) if keys else record for record in records_of(header, payload, keys)]


def _end(path: Path) -> int:
    return max((offset + header.size for offset, header in frames(path)), default=0)


def _records(directory: Path, keys: JournalKeys | None, damage: list[str]) -> Iterator[Record]:
    """Yield all records that can be read; note the damage."""
    for path in _paths(directory):
        if fault := segment_fault(path):
            damage.append(f"{path}: {fault}")
            continue
        for offset, header in frames(path):
            payload = read_payload(path, offset, header)
            if payload is None:
                damage.append(f"{path} at {offset}: the checksum does not match")
                continue
            try:
                yield from _opened(header, payload, keys)
            except SealedError as error:
                damage.append(f"{path} at {offset}: {error}")


def _print_damage(damage: Sequence[str]) -> int:
    """Print the first damage on the standard error, and return the exit code."""
    if damage:
        more = f" and {len(damage) - 1} more" if len(damage) > 1 else ""
        print_remark(f"left out: {damage[0]}{more}; `shadow journal verify` lists all damage")
    return Exit.NEGATIVE if damage else Exit.DONE


def _stats(directory: Path) -> int:
    by_kind: Counter[tuple[str, str, str]] = Counter()
    raw = 0
    damage: list[str] = []
    for record in _records(directory, available_keys(directory, os.environ), damage):
        by_kind[record.route, record.served_by.value, record.cause or str(record.status)] += 1
        raw += len(record.request_body) + len(record.response_body)
    stored = sum(path.stat().st_size for path in _paths(directory))
    print_line(f"{by_kind.total()} exchanges, {raw} bytes of bodies, {stored} bytes on disk")
    for (route, side, status), count in sorted(by_kind.items()):
        print_line(f"  {route:<24} {side:<10} {status:<10} {count:>10}")
    for name, committed in all_committed(directory).items():
        remaining = backlog(directory, committed.sequences)
        print_line(
            f"  reader {name}: {sum(committed.sequences.values())} done, {remaining} left, {committed.lost} lost"
        )
    return _print_damage(damage)


def _verify(directory: Path) -> int:
    """Check the checksums of all frames, and that their sequences are consecutive; open them where the keys are here."""
    damage: list[str] = []
    count = 0
    keys = available_keys(directory, os.environ)
    for writer in writers(directory):
        expected: int | None = None
        files = segments(directory / writer)
        for path in files:
            fault = segment_fault(path)
            if fault:
                # The sequence of the next segment tells how many exchanges are missing.
                damage.append(f"{path}: {fault}")
                continue
            end = 0
            for offset, header in frames(path):
                damage += _faults(path, offset, header, keys, expected=expected)
                expected, end, count = header.next_sequence, offset + header.size, count + header.count
            torn = path.stat().st_size - end
            being_written = path == files[-1] and is_locked(directory / writer / LOCK)
            if end and torn and not being_written:
                damage.append(f"{path} at {end}: {torn} bytes after the last whole frame")
    for line in damage:
        print_line(line)
    print_line(f"{count} exchanges, {len(damage)} faults")
    if keys is None and count:
        print_remark("without a key only checksums were checked: sealed frames were not opened")
    return Exit.NEGATIVE if damage else Exit.DONE


def _faults(
    path: Path, offset: int, header: FrameHeader, keys: JournalKeys | None, *, expected: int | None
) -> list[str]:
    faults: list[str] = []
    if expected is not None and header.first_sequence != expected:
        faults.append(f"{path} at {offset}: sequence {header.first_sequence} follows {expected - 1}")
    payload = read_payload(path, offset, header)
    if payload is None:
        return [*faults, f"{path} at {offset}: the checksum does not match"]
    try:
        if keys or key_id_of(payload) is None:
            records_of(header, payload, keys)
    except (JournalFormatError, SealedError) as error:
        faults.append(f"{path} at {offset}: {error}")
    return faults


def _prune(directory: Path, settings: JournalSettings, forget_reader: str) -> int:
    if forget_reader:
        path = directory / "readers" / f"{Path(forget_reader).name}.json"
        if not path.exists():
            known = ", ".join(all_committed(directory)) or "none"
            raise SettingsError(f"no reader named {forget_reader!r}; known readers: {known}")
        if is_locked(path.with_suffix(".lock")):
            raise SettingsError(f"{forget_reader!r} is reading the journal; stop it first")
        path.unlink()
    pruned = retention.prune(directory, settings.retention, now_s=time.time())
    print_line(f"{len(pruned.deleted)} segments deleted, {pruned.unread} exchanges of them unread")
    return Exit.DONE
