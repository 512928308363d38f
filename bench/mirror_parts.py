"""What decoding, comparing and aligning cost for one mirrored request of 30 row changes a side, without HTTP, journal and store.

CPU time of this process; PostgreSQL is another. `bench.mirror` prints it beside what the whole runner uses.
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
from proxy.runner.row_targets import targets
from proxy.runner.row_writer import SESSION_OPTIONS, RowWriter
from tests.support import pgoutput, postgres
from tests.support.comparison_faults import legacy_settings

REQUESTS = 50
DAY = dt.datetime(2026, 3, 4, tzinfo=dt.UTC)


async def parts_ms(server_dsn: str, *, rounds: int = 5) -> dict[str, float]:
    """CPU milliseconds a request by part; each is the median of the rounds."""
    pairs = effect_pairs()[:REQUESTS]
    samples: dict[str, list[float]] = {"decode": [], "compare": [], "align": []}
    async with postgres.temporary_database(server_dsn) as dsn:
        pool = await asyncpg.create_pool(dsn, min_size=1, max_size=1, server_settings=SESSION_OPTIONS)
        catalog = await _tables(pool, pairs[0])
        keys = {name: shape.primary_key for name, shape in catalog.tables.items() if shape.primary_key}
        aligner, comparator = RowWriter(pool, catalog), Comparator(legacy_settings())
        for _ in range(rounds):
            samples["decode"].append(_decode_ms(pairs))
            samples["compare"].append(_compare_ms(comparator, pairs))
            samples["align"].append(await _align_ms(aligner, keys, pairs))
        await pool.close()
    return {f"{part}_ms": round(statistics.median(found), 3) for part, found in samples.items()}


def _sides(pair: Pair) -> tuple[Observation, Observation]:
    return pair.served, pair.mirrored


def _columns(changes: Sequence[RowChange]) -> dict[str, Sequence[str]]:
    return {change.table: tuple(change.after or ()) for change in changes}


def _decode_ms(pairs: Sequence[Pair]) -> float:
    transactions = [one for pair in pairs for side in _sides(pair) for one in side.effects.transactions]
    streams = [pgoutput.encode(one, _columns(one.changes)) for one in transactions]
    decoder, decoded = Decoder(), list[Transaction]()
    begun = time.process_time()
    for stream in streams:
        decoded += [found for message in stream if (found := decoder.feed(message)) is not None]
    used = time.process_time() - begun
    assert [len(one.changes) for one in decoded] == [len(one.changes) for one in transactions]
    return used * 1e3 / len(pairs)


def _compare_ms(comparator: Comparator, pairs: Sequence[Pair]) -> float:
    begun = time.process_time()
    for pair in pairs:
        comparator.compare("v2_score", pair.served, pair.mirrored, now=DAY)
    return (time.process_time() - begun) * 1e3 / len(pairs)


async def _align_ms(aligner: RowWriter, keys: dict[str, Any], pairs: Sequence[Pair]) -> float:
    """Each request: the shadow holds what the mirrored side inserted, and gets what live has instead."""
    used = 0.0
    for pair in pairs:
        live, shadow = changes_of(pair.served.effects), changes_of(pair.mirrored.effects)
        await aligner.apply(targets(shadow, (), keys))
        used += await _cpu_s(lambda live=live, shadow=shadow: aligner.apply(targets(live, shadow, keys)))
        await aligner.apply(targets((), live, keys))
    return used * 1e3 / len(pairs)


async def _cpu_s(step: Callable[[], Awaitable[object]]) -> float:
    begun = time.process_time()
    await step()
    return time.process_time() - begun


async def _tables(pool: asyncpg.Pool, pair: Pair) -> Catalog:
    """Tables of the shape of the corpus's rows; all columns but the key are text, which costs this process the same."""
    columns = _columns(changes_of(pair.served.effects))
    async with pool.acquire() as conn:
        for table, names in columns.items():
            listed = ", ".join(f"{name} {'bigint PRIMARY KEY' if name == 'id' else 'text'}" for name in names)
            await conn.execute(f"CREATE TABLE {table} ({listed})")
        return await read_catalog(conn, columns)
