"""Cost of decoding, comparing and aligning one mirrored request with 30 row changes per side, without HTTP, journal and store.

It is CPU time of this process, without PostgreSQL's. `bench.mirror` prints it beside that of the whole runner.
"""

import datetime as dt
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import asyncpg

from bench.compare import Pair, effect_pairs
from comparator.capture.catalog import read_catalog
from comparator.capture.pgoutput import Decoder
from comparator.capture.table_shape import Catalog
from comparator.exchanges.model import Observation
from comparator.exchanges.row_changes import RowChange, Transaction
from comparator.verdict import Comparator
from proxy.runner.mirror import changes_of
from proxy.runner.row_targets import alignment
from proxy.runner.row_writer import SESSION_OPTIONS, RowWriter
from tests.support import pgoutput, postgres
from tests.support.comparison_faults import legacy_settings

REQUESTS = 50
DAY = dt.datetime(2026, 3, 4, tzinfo=dt.UTC)


async def parts_ms(server_dsn: str, *, rounds: int = 5) -> dict[str, float]:
    """Return CPU milliseconds per request by part, each the median of the rounds."""
    pairs = effect_pairs()[:REQUESTS]
    samples: dict[str, list[float]] = {"decode": [], "compare": [], "align": []}
    async with postgres.temporary_database(server_dsn) as dsn:
        pool = await asyncpg.create_pool(dsn, min_size=1, max_size=1, server_settings=SESSION_OPTIONS)
        catalog = await _tables(pool, pairs[0])
        keys = {name: shape.primary_key for name, shape in catalog.tables.items() if shape.primary_key}
        writer, comparator = RowWriter(pool, catalog), Comparator(legacy_settings())
        for _ in range(rounds):
            samples["decode"].append(_decode_ms(pairs))
            samples["compare"].append(_compare_ms(comparator, pairs))
            samples["align"].append(await _align_ms(writer, keys, pairs))
        await pool.close()
    return {f"{part}_ms": round(statistics.median(values), 3) for part, values in samples.items()}


def _sides(pair: Pair) -> tuple[Observation, Observation]:
    return pair.served, pair.mirrored


def _columns(changes: Sequence[RowChange]) -> dict[str, Sequence[str]]:
    return {change.table: tuple(change.after or ()) for change in changes}


def _decode_ms(pairs: Sequence[Pair]) -> float:
    transactions = [t for pair in pairs for side in _sides(pair) for t in side.effects.transactions]
    streams = [pgoutput.encode(transaction, _columns(transaction.changes)) for transaction in transactions]
    decoder, decoded = Decoder(), list[Transaction]()
    started = time.process_time()
    for stream in streams:
        decoded += [transaction for message in stream if (transaction := decoder.feed(message)) is not None]
    used = time.process_time() - started
    assert [len(t.changes) for t in decoded] == [len(t.changes) for t in transactions]
    return used * 1e3 / len(pairs)


def _compare_ms(comparator: Comparator, pairs: Sequence[Pair]) -> float:
    started = time.process_time()
    for pair in pairs:
        comparator.compare("v2_score", pair.served, pair.mirrored, now=DAY)
    return (time.process_time() - started) * 1e3 / len(pairs)


async def _align_ms(writer: RowWriter, keys: dict[str, Any], pairs: Sequence[Pair]) -> float:
    """Return the cost of replacing the rows that the mirrored side inserted by those of live."""
    used = 0.0
    for pair in pairs:
        live, shadow = changes_of(pair.served.effects), changes_of(pair.mirrored.effects)
        await writer.apply(alignment(shadow, (), keys))
        used += await _cpu_s(lambda live=live, shadow=shadow: writer.apply(alignment(live, shadow, keys)))
        await writer.apply(alignment((), live, keys))
    return used * 1e3 / len(pairs)


async def _cpu_s(step: Callable[[], Awaitable[object]]) -> float:
    started = time.process_time()
    await step()
    return time.process_time() - started


async def _tables(pool: asyncpg.Pool, pair: Pair) -> Catalog:
    """Create tables for the corpus's rows, with text for every column but the key, which costs this process the same."""
    columns = _columns(changes_of(pair.served.effects))
    async with pool.acquire() as conn:
        for table, names in columns.items():
            listed = ", ".join(f"{name} {'bigint PRIMARY KEY' if name == 'id' else 'text'}" for name in names)
            await conn.execute(f"CREATE TABLE {table} ({listed})")
        return await read_catalog(conn, columns)
