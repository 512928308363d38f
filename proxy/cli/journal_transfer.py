"""`shadow journal export` and `import`: exchanges out to other programs' formats, and recordings of other programs in."""

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
from proxy.config.journal import Durability, JournalSettings
from proxy.config.routes import RouteSettings
from proxy.errors import JournalError
from proxy.journal.driver import JournalWriter
from proxy.journal.keys import load_keys
from proxy.journal.queue import RECORD_OVERHEAD_BYTES
from proxy.journal.registry import open_writer
from proxy.recordings.formats import WRITERS
from proxy.recordings.model import Item, MalformedRecord, RecordedExchange, header_of, to_exchange
from proxy.recordings.reader import JOURNAL, READABLE, read
from proxy.replay.recording_reader import placed
from proxy.serving.routing import Route, compile_routes

IMPORTED = "imported"
WAIT_S = 0.002
QUEUED_MAX_BYTES = 8 * 1024**2
MALFORMED_SHOWN = 5


def configure_export(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `export`."""
    parser.add_argument(
        "--to", dest="sink", choices=list(WRITERS), default="ndjson"
    )
    parser.add_argument("--out", default="-", help="file to write; default: the standard output")
    parser.add_argument("--unseal", action="store_true", help="write secrets in clear (needs the journal's key)")
    parser.add_argument("--route", default="", help="only this route")
    parser.add_argument("--key", default="", help="only this ordering key")


def configure_import(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `import`."""
    parser.add_argument("source", help="a recording: file, journal folder, or - for the standard input")
    parser.add_argument("--format", choices=READABLE, help="default: found out")
    parser.add_argument(
        "--served-by", choices=[one.value for one in Side], default=Side.LEGACY.value, help="whose responses these are"
    )
    parser.add_argument(
        "--mirror", action="store_true", help="let the runner mirror them; without it they are only kept"
    )


def export(directory: Path, args: argparse.Namespace) -> int:
    """Write the journal's exchanges in another format; say on stderr what was left out."""
    keys = load_keys(directory, os.environ) if args.unseal else None
    malformed: list[MalformedRecord] = []
    wanted = _wanted(read(str(directory), format_name=JOURNAL, keys=keys), args.route, args.key, malformed)
    pieces = WRITERS[args.sink](wanted)
    if args.out == "-":
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
    else:
        _written(Path(args.out), pieces)
    _tell(malformed)
    return 1 if malformed else 0


def _written(path: Path, pieces: Iterator[bytes]) -> None:
    try:
        with path.open("wb") as file:
            file.writelines(pieces)
    except OSError as error:
        raise JournalError(f"{path}: {error.strerror}") from error


def import_(settings: JournalSettings, routes: Sequence[RouteSettings], args: argparse.Namespace) -> int:
    """Append a recording's exchanges, redacted like all others; print what became of them.

    Raises:
        JournalError: something could not be written.
        SourceError: the recording cannot be read.
    """
    into, source = Path(settings.directory).resolve(), Path(args.source).resolve()
    if args.source != "-" and into in (source, *source.parents):
        raise JournalError(f"{args.source} is the journal itself: its exchanges would stand there twice")
    compiled = compile_routes(routes)
    malformed: list[MalformedRecord] = []
    count: Counter[str] = Counter()
    weight = 0
    # What was imported is on the disk when this returns, and nothing may be shed.
    room = {"queue_max": 1_000_000, "queue_max_bytes": 2 * 1024**3, "flush_ms": 1.0}
    writer = open_writer(msgspec.structs.replace(settings, durability=Durability.INTERVAL, **room), os.environ)
    writer.start()
    try:
        for recorded in _wanted(read(args.source, format_name=args.format), "", "", malformed):
            exchange = _routed(recorded, compiled, served_by=Side(args.served_by), mirror=args.mirror)
            count["without response" if recorded.outcome is None else "with response"] += 1
            weight = _append(writer, exchange, weight)
    finally:
        writer.close()
    if writer.counts.written != count.total():
        raise JournalError(f"{count.total() - writer.counts.written} of {count.total()} exchanges were not written")
    _tell(malformed)
    parts = ", ".join(f"{number} {name}" for name, number in sorted(count.items()))
    sys.stdout.write(f"{count.total()} exchanges imported ({parts or 'none'}), {len(malformed)} malformed\n")
    return 1 if malformed else 0


def _wanted(
    items: Iterator[Item], route: str, key: str, malformed: list[MalformedRecord]
) -> Iterator[RecordedExchange]:
    for item in items:
        if isinstance(item, MalformedRecord):
            malformed.append(item)
        elif (not route or item.route == route) and (not key or item.key == key.lower()):
            yield item


def _routed(recorded: RecordedExchange, routes: Sequence[Route], *, served_by: Side, mirror: bool) -> Exchange:
    """The exchange as the proxy would have journaled it: with route and key, and an id that nothing else has."""
    exchange_id = header_of(recorded.request.headers, "x-request-id") or uuid.uuid4().hex
    exchange = to_exchange(placed(recorded, routes), served_by=served_by, exchange_id=exchange_id)
    skip = exchange.skip if mirror else exchange.skip or IMPORTED
    return replace(exchange, stage=exchange.stage or IMPORTED, skip=skip)


def _append(writer: JournalWriter, exchange: Exchange, weight: int) -> int:
    """Append; once much is queued, wait until it is written: an import is in no hurry. Return the weight queued."""
    if not writer.append(exchange):
        raise JournalError("the journal takes no more exchanges: " + json.dumps(writer.counts.losses()))
    response = exchange.outcome
    weight += RECORD_OVERHEAD_BYTES + len(exchange.request.body) + (len(response.body) if isinstance(response, Response) else 0)
    if weight < QUEUED_MAX_BYTES:
        return weight
    while writer.counts.queued:
        time.sleep(WAIT_S)
    return 0


def _tell(malformed: Sequence[MalformedRecord]) -> None:
    for one in malformed[:MALFORMED_SHOWN]:
        sys.stderr.write(f"{one.location}: {one.reason}\n")
    if len(malformed) > MALFORMED_SHOWN:
        sys.stderr.write(f"and {len(malformed) - MALFORMED_SHOWN} more\n")
