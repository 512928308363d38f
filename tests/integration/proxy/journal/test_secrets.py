"""No secret that a client or a side sends is stored in clear anywhere."""

import gzip
import json
import random
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest
from prometheus_client import CollectorRegistry

from comparator.errors import CaseError
from comparator.exchanges.comparison import Verdict
from comparator.exchanges.model import Effects, EffectsOutcome, Exchange, Observation, Request, Response, Role, Side
from comparator.metrics import ComparatorMetrics
from comparator.settings import CompareSettings, StoreSettings
from comparator.store.comparison_detail import unpack
from comparator.store.ended import EndedBatch
from comparator.store.store import Store
from comparator.verdict import Comparator
from proxy.config.backends import BackendsSettings
from proxy.config.settings import Settings
from proxy.journal.driver import JournalEntry
from proxy.journal.keys import load_keys
from proxy.journal.redaction import JournalRedactor
from proxy.journal.sealing import records_of
from proxy.journal.segment_reader import SegmentReader
from proxy.journal.segment_writer import SegmentWriter
from proxy.journal.segments import frames, read_payload
from proxy.recordings.formats import WRITERS
from proxy.recordings.model import RecordedExchange
from proxy.recordings.reader import JOURNAL, read
from proxy.runner.metrics import RunnerMetrics
from proxy.runner.mirror import MirrorResult
from proxy.runner.mismatch_journal import open_mismatch_journal
from proxy.runner.releases import ReleaseReader
from proxy.runner.result_buffer import Outcome
from proxy.runner.result_sink import ResultSink, redactor_of
from tests.support.comparisons import NOW


def secret(place: str) -> str:
    return f"SECRET-{place}"


def token(place: str) -> str:
    """Return a text that looks like a JSON Web Token."""
    return f"eyJhbGciOiJIUzI1NiJ9.eyJkaWQiOiJ4In0.SECRET-{place}"


def response_of(side: str) -> Response:
    """A response like that of /ceramic-cache/authenticate, and more."""
    body = {"access": token(f"{side}-access"), "user": {"password": secret(f"{side}-password")}, "score": side}
    headers = (("Content-Type", "application/json"), ("Set-Cookie", secret(f"{side}-cookie")), ("X-Next", token(side)))
    return Response(200, headers, json.dumps(body).encode())


ASKED = Request(
    "POST",
    f"/ceramic-cache/authenticate?api_key={secret('query')}&Token={secret('token')}&next={token('next')}&x=1",
    (
        ("Host", "api.example"),
        ("X-API-Key", secret("api-key")),
        ("Authorization", f"Bearer {token('bearer')}"),
        ("Proxy-Authorization", f"Basic {secret('basic')}"),
        ("Cookie", f"session={secret('session')}"),
        ("X-Forwarded-Authorization", f"Bearer {token('forwarded')}"),
    ),
    json.dumps({"jwt": token("body"), "user": {"password": secret("password")}}).encode(),
)


def exchange(identity: str, request: Request, response: Response, *, key: str) -> Exchange:
    return Exchange(identity, "ceramic", key, Side.LEGACY, "legacy", 10**18, 10**18 + 10**6, request, response)


PLAIN = exchange("plain", ASKED, response_of("legacy"), key=secret("api-key").lower())
BY_BODY = exchange("by-body", replace(ASKED, target="/by-body"), response_of("legacy"), key=secret("password").lower())


TORN = exchange(
    "torn",
    Request("POST", "/torn", ASKED.headers[:1], ASKED.body[:-5], body_truncated=True),
    Response(200, (("Content-Encoding", "gzip"),), gzip.compress(response_of("packed").body)),
    key="0xab",
)
SENT = (PLAIN, BY_BODY, TORN)


def settings(tmp_path: Path, mode: str) -> Settings:
    document: dict[str, Any] = {
        "routes": [{"name": "ceramic", "path": "/{any:path}", "record_if": {"only": "mismatches"}}],
        "journal": {
            "directory": str(tmp_path / "journal"),
            "mismatches": {"directory": str(tmp_path / "mismatches")},
            "redaction": {"mode": mode, "json_paths": ["user.password"]},
        },
    }
    return msgspec.convert(document, Settings)


def journaled(made: Settings) -> list[JournalEntry]:
    """Return the exchanges as the runner reads them: unsealed."""
    writer = SegmentWriter(made.journal, environ={})
    writer.start()
    assert all(map(writer.append, SENT))
    writer.close()
    directory = Path(made.journal.directory)
    with SegmentReader(directory, "mirror", keys=load_keys(directory, {})) as reader:
        return reader.take(10)


def on_disk(directory: Path, *, opened: bool) -> Iterator[bytes]:
    """Return all files, and in mode `digest` the opened frames of segments."""
    for path in (path for path in directory.rglob("*") if path.is_file()):
        yield path.read_bytes()
        for offset, header in frames(path) if path.suffix == ".seg" and opened else ():
            keys = load_keys(path.parents[1], {})
            yield from map(msgspec.json.encode, records_of(header, read_payload(path, offset, header) or b"", keys))


def compared(entry: JournalEntry) -> Outcome:
    """Return the runner's outcome: the candidate responded with other secrets."""
    effects = Effects(EffectsOutcome.ATTRIBUTED, ())
    served = Observation(Side.LEGACY, Role.SERVED, entry.exchange.outcome, 1_000, effects)
    mirrored = Observation(Side.CANDIDATE, Role.MIRRORED, response_of("candidate"), 1_000, effects)
    result = Comparator(CompareSettings()).compare("ceramic", served, mirrored, now=NOW)
    assert result.verdict is Verdict.MISMATCH
    return Outcome(entry, MirrorResult(served, mirrored, result), None)


async def tables(dsn: str) -> bytes:
    """Return everything in the store, decompressed."""
    conn = await asyncpg.connect(dsn)
    try:
        names = await conn.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'shadow'")
        rows = [row for name in names for row in await conn.fetch(f"SELECT * FROM shadow.{name[0]}")]
    finally:
        await conn.close()
    cells = [cell for row in rows for cell in row.values()]
    return b"\n".join(_content(cell) for cell in cells)


def _content(cell: object) -> bytes:
    if not isinstance(cell, bytes):
        return str(cell).encode()
    try:
        return unpack(cell)
    except CaseError:
        # A sketch of numbers, which is not compressed.
        return cell


def secrets_in(data: bytes) -> set[bytes]:
    """Return the secrets found in some bytes."""
    return set(re.findall(rb"(?i)SECRET-[a-z-]+", data))


def test_secret_search_finds_planted_secrets() -> None:
    assert len(secrets_in(ASKED.body + ASKED.target.encode() + str(ASKED.headers).encode())) == 10


@pytest.mark.parametrize("mode", ["seal", "digest"])
async def test_journal_mismatch_journal_and_exports_contain_no_secret(tmp_path: Path, mode: str) -> None:
    made = settings(tmp_path, mode)
    entries = journaled(made)
    with open_mismatch_journal(made.routes, made.journal, {}, RunnerMetrics(CollectorRegistry())) as record:
        [record(entry) for entry in entries]
    kept = b"\n".join(on_disk(tmp_path, opened=mode == "digest"))
    assert kept.count(b"/ceramic-cache/authenticate") == (2 if mode == "digest" else 0)
    assert secrets_in(kept) == set()
    keys = load_keys(tmp_path / "mismatches", {})
    redactor = JournalRedactor(made.journal.redaction, keys.active)
    found = read(str(tmp_path / "mismatches"), format_name=JOURNAL, keys=keys, redactor=redactor)
    items = [item for item in found if isinstance(item, RecordedExchange)]
    assert len(items) == len(SENT)
    exports = {sink: b"".join(dump(items)) for sink, dump in WRITERS.items()}
    assert all(b"/ceramic-cache/authenticate" in data for data in exports.values())
    assert {sink: result for sink, data in exports.items() if (result := secrets_in(data))} == {}


async def test_unsealed_request_equals_what_was_sent(tmp_path: Path) -> None:
    assert [entry.exchange for entry in journaled(settings(tmp_path, "seal"))] == list(SENT)


async def test_store_and_cases_contain_no_secret(tmp_path: Path, database: str) -> None:
    made = settings(tmp_path, "seal")
    batch = [compared(entry) for entry in journaled(made)]
    async with Store(database, StoreSettings(timeout_s=10), random.Random(1)) as store:
        await store.maintain(NOW)
        redactor = redactor_of(made.compare, made.journal.redaction, b"salt")
        sink = ResultSink(
            store,
            made.compare,
            redactor,
            b"salt",
            metrics=ComparatorMetrics(CollectorRegistry(), ["ceramic"], made.compare.tables),
            ended=lambda exchanges: EndedBatch("mirror", exchanges, {}),
            releases=ReleaseReader.of(BackendsSettings()),
        )
        await sink.save(batch)
    kept = await tables(database)
    assert b"/ceramic-cache/authenticate" in kept
    assert b'"score"' in kept
    assert secrets_in(kept) == set()
