"""`shadow journal export` and `import`: exchanges to the formats of other programs, and recordings of other programs to exchanges."""

import argparse
import json
import os
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from comparator.exchanges.model import Exchange, Response, Side
from comparator.exchanges.skip import Skip
from proxy.cli.exit_codes import Exit
from proxy.cli.output import UNSEAL_WARNING, print_error, print_line, print_remark
from proxy.config.journal import Durability, JournalSettings
from proxy.config.routes import RouteSettings
from proxy.errors import JournalError
from proxy.journal.driver import JournalWriter
from proxy.journal.keys import load_keys
from proxy.journal.queue import RECORD_OVERHEAD_BYTES
from proxy.journal.redaction import JournalRedactor
from proxy.journal.registry import open_writer
from proxy.private_file import open_private
from proxy.recordings.counts import ReadCounts
from proxy.recordings.formats import WRITERS
from proxy.recordings.model import Item, RecordedExchange, header_of, to_exchange
from proxy.recordings.reader import JOURNAL, READABLE, STANDARD_INPUT, keys_of_recording, read
from proxy.replay.recording_reader import with_route
from proxy.serving.routing import Route, compile_routes

IMPORTED_STAGE = "imported"
WAIT_S = 0.002
QUEUED_MAX_BYTES = 8 * 1024**2


def configure_export(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `export`."""
    parser.add_argument("--to", dest="format", choices=list(WRITERS), default="ndjson", help="default: %(default)s")
    parser.add_argument("--out", default="-", help="file to write (default: the standard output)")
    parser.add_argument("--unseal", action="store_true", help="write secrets in clear")
    parser.add_argument("--route", default="", help="only this route")
    parser.add_argument("--key", default="", help="only this ordering key")


def configure_import(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `import`."""
    parser.add_argument("source", help="a recording: file, journal folder, or - for the standard input")
    parser.add_argument("--format", choices=READABLE, help="default: detected")
    parser.add_argument(
        "--served-by",
        choices=[side.value for side in Side],
        default=Side.LEGACY.value,
        help="side of the recorded responses (default: %(default)s)",
    )
    parser.add_argument(
        "--mirror", action="store_true", help="let the runner mirror them; otherwise they are stored only"
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="import nothing and exit with code 1 when the recording holds records that are cut, malformed or not requests (known at "
        "the end only for the standard input)",
    )


def export(directory: Path, settings: JournalSettings, args: argparse.Namespace) -> int:
    """Write the journal's exchanges in another format; list on the standard error what could not be read."""
    if args.unseal:
        print_remark(UNSEAL_WARNING)
    keys = load_keys(directory, os.environ)
    redactor = None if args.unseal else JournalRedactor(settings.redaction, keys.active)
    counts = ReadCounts()
    items = read(str(directory), format_name=JOURNAL, keys=keys, redactor=redactor)
    records = _selected(items, args.route, args.key, counts)
    pieces = WRITERS[args.format](records)
    if args.out == "-":
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
    else:
        _write(Path(args.out), pieces)
    if counts.malformed:
        _print_counts(counts)
    return Exit.NEGATIVE if counts.malformed else Exit.DONE


def _write(path: Path, pieces: Iterator[bytes]) -> None:
    try:
        with open_private(path) as file:
            file.writelines(pieces)
    except OSError as error:
        raise JournalError(f"{path}: {error.strerror}") from error


def import_(settings: JournalSettings, routes: Sequence[RouteSettings], args: argparse.Namespace) -> int:
    """Append a recording's exchanges to the journal, sealed as usual, and print their number.

    Returns:
        NEGATIVE when records are malformed or --strict is not satisfied, else DONE.

    Raises:
        JournalError: an exchange could not be written, or the key of a journal that is imported cannot be used.
        RecordingError: the recording cannot be read.
    """
    into, source = Path(settings.directory).resolve(), Path(args.source).resolve()
    if args.source != "-" and into in (source, *source.parents):
        raise JournalError("cannot import the journal into itself: every exchange would be duplicated")
    compiled = compile_routes(routes)
    keys = keys_of_recording(args.source, os.environ)
    counts = ReadCounts()
    if args.strict and args.source != STANDARD_INPUT:
        for item in read(args.source, format_name=args.format, keys=keys):
            counts.add(item)
        if not counts.complete:
            _print_counts(counts)
            print_error("journal", "nothing was imported, because of --strict")
            return Exit.NEGATIVE
        counts = ReadCounts()
    count: Counter[str] = Counter()
    queued_bytes = 0
    # Every exchange is on the disk when the command ends: the queue never overflows, and files are synced.
    room = {"queue_max": 1_000_000, "queue_max_bytes": 2 * 1024**3, "flush_ms": 1.0}
    writer = open_writer(msgspec.structs.replace(settings, durability=Durability.INTERVAL, **room), os.environ)
    writer.start()
    try:
        for recorded in _selected(read(args.source, format_name=args.format, keys=keys), "", "", counts):
            exchange = _routed(recorded, compiled, served_by=Side(args.served_by), mirror=args.mirror)
            count["without response" if recorded.outcome is None else "with response"] += 1
            queued_bytes = _append(writer, exchange, queued_bytes)
    finally:
        writer.close()
    if writer.counts.written != count.total():
        raise JournalError(f"{count.total() - writer.counts.written} of {count.total()} exchanges were not written")
    _print_counts(counts)
    parts = ", ".join(f"{number} {name}" for name, number in sorted(count.items()))
    print_line(f"{count.total()} exchanges imported ({parts or 'none'}), {counts.malformed} malformed")
    return Exit.NEGATIVE if counts.malformed or (args.strict and not counts.complete) else Exit.DONE


def _selected(items: Iterator[Item], route: str, key: str, counts: ReadCounts) -> Iterator[RecordedExchange]:
    for item in items:
        counts.add(item)
        if (
            isinstance(item, RecordedExchange)
            and (not route or item.route == route)
            and (not key or item.key == key.lower())
        ):
            yield item


def _routed(recorded: RecordedExchange, routes: Sequence[Route], *, served_by: Side, mirror: bool) -> Exchange:
    """Return the exchange as the proxy would have journaled it: with route and key, and a unique id."""
    exchange_id = header_of(recorded.request.headers, "x-request-id") or uuid.uuid4().hex
    exchange = to_exchange(with_route(recorded, routes), served_by=served_by, exchange_id=exchange_id)
    skip = exchange.skip if mirror else exchange.skip or Skip.IMPORTED
    return replace(exchange, stage=exchange.stage or IMPORTED_STAGE, skip=skip)


def _append(writer: JournalWriter, exchange: Exchange, queued_bytes: int) -> int:
    """Append an exchange; wait for the queue above QUEUED_MAX_BYTES. Return the bytes queued since the last wait."""
    if not writer.append(exchange):
        raise JournalError("the journal dropped an exchange: " + json.dumps(writer.counts.losses()))
    response = exchange.outcome
    queued_bytes += (
        RECORD_OVERHEAD_BYTES
        + len(exchange.request.body)
        + (len(response.body) if isinstance(response, Response) else 0)
    )
    if queued_bytes < QUEUED_MAX_BYTES:
        return queued_bytes
    while writer.counts.queued:
        time.sleep(WAIT_S)
    return 0


def _print_counts(counts: ReadCounts) -> None:
    for line in counts.lines():
        print_remark(line)
