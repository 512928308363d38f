"""Whatever is written, the three drivers tell the same transactions."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from comparator.capture import trigger_log as changelog
from comparator.capture import trigger_tags as tags
from comparator.capture.settings import Driver
from comparator.exchanges.row_changes import LogicalMessage, Transaction
from tests.support import captured_database, postgres

ADD = "INSERT INTO account (address, score) VALUES ($1, $2::text::numeric) ON CONFLICT (address) DO NOTHING"
UPSERT = """
INSERT INTO account (address, score) VALUES ($1, $2::text::numeric)
ON CONFLICT (address) DO UPDATE SET score = EXCLUDED.score
"""
SAME = "UPDATE account SET address = address WHERE address = $1"
STAMP = """
INSERT INTO stamp (account_id, provider, credential, note)
SELECT id, $2, jsonb_build_object('b', 1.0, 'a', $2::text), $3 FROM account WHERE address = $1
ON CONFLICT (account_id, provider) DO UPDATE SET credential = jsonb_build_object('again', true)
"""
UNSTAMP = "DELETE FROM stamp USING account WHERE stamp.account_id = account.id AND address = $1"
RENUMBER = "UPDATE account SET id = id + 1000000 WHERE address = $1 AND NOT EXISTS (SELECT 1 FROM stamp WHERE account_id = account.id)"
EVENT = "INSERT INTO event (data) SELECT jsonb_build_object('n', n) FROM generate_series(1, $1::int) n"
TRUNCATE = "TRUNCATE event"
KIND = "INSERT INTO kinds (amount, raw, at, span, words, body) VALUES ($1, $2, $3, $4, $5, $6)"
ODD_SESSION = """
SET timezone = 'Asia/Tokyo'; SET datestyle = 'SQL, DMY'; SET intervalstyle = 'iso_8601'; SET bytea_output = 'escape';
SET extra_float_digits = 0
"""
LONG = "0123456789abcdef" * 600

Statement = tuple[str, tuple[Any, ...]]

words = st.text(st.characters(exclude_characters="\x00", exclude_categories=("Cs",)), max_size=12)
moments = st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def statements(lane: int) -> st.SearchStrategy[Statement]:
    """One statement on this lane's own addresses, so that lanes may run at the same time."""
    address = st.sampled_from([f"0x{lane}a", f"0x{lane}b"])
    score = st.sampled_from(["1", "2.50", "0.000000001"])
    provider = st.sampled_from(["Google", "Ens"])
    return st.one_of(
        st.tuples(st.sampled_from([ADD, UPSERT]), st.tuples(address, score)),
        st.tuples(st.sampled_from([SAME, UNSTAMP, RENUMBER]), st.tuples(address)),
        st.tuples(st.just(STAMP), st.tuples(address, provider, st.sampled_from([LONG, "short", None]))),
        st.tuples(st.just(EVENT), st.tuples(st.integers(0, 3))),
        st.tuples(
            st.just(KIND),
            st.tuples(
                st.none() | st.floats(allow_nan=False),
                st.none() | st.binary(max_size=8),
                st.none() | moments,
                st.none() | st.timedeltas(timedelta(days=-9), timedelta(days=9)),
                st.none() | st.lists(words, max_size=3),
                st.none() | words,
            ),
        ),
    )


def works(lane: int) -> st.SearchStrategy[tuple[str, list[tuple[bool, list[Statement]]]]]:
    """A transaction: savepoints, each kept or rolled back, and whether the whole is committed."""
    savepoint = st.tuples(st.booleans(), st.lists(statements(lane), max_size=3))
    return st.tuples(st.sampled_from(["commit", "commit", "commit", "rollback"]), st.lists(savepoint, max_size=3))


rounds = st.lists(st.one_of(st.just("truncate"), st.tuples(works(0), works(1), works(2))), min_size=1, max_size=5)


class Undone(Exception):  # noqa: N818
    """Rolls a block back."""


async def run(dsn: str, work: tuple[str, list[tuple[bool, list[Statement]]]]) -> None:
    end, savepoints = work
    conn = await asyncpg.connect(dsn)
    try:
        await conn.execute(ODD_SESSION)
        outer = conn.transaction()
        await outer.start()
        for kept, inside in savepoints:
            inner = conn.transaction()
            await inner.start()
            for statement, values in inside:
                await conn.execute(statement, *values)
            await (inner.commit() if kept else inner.rollback())
        await (outer.commit() if end == "commit" else outer.rollback())
    finally:
        await conn.close()


async def truncate(dsn: str) -> None:
    conn = await asyncpg.connect(dsn)
    await conn.execute(TRUNCATE)
    await conn.close()


async def observe(dsn: str, plan: Sequence[Any]) -> dict[Driver, list[Transaction]]:
    """Do the work with all drivers watching; return what each of them told."""
    drivers = [Driver.STREAM, Driver.SQL, Driver.TRIGGERS]
    async with postgres.temporary_database(dsn) as fresh, AsyncExitStack() as stack:
        await captured_database.create_tables(fresh)
        await captured_database.install_trigger_log(fresh)
        opened = [
            await stack.enter_async_context(captured_database.started_capture(fresh, captured_database.settings(d)))
            for d in drivers
        ]
        for step in plan:
            await (truncate(fresh) if step == "truncate" else asyncio.gather(*(run(fresh, work) for work in step)))
        await asyncio.gather(*(capture.fence() for capture, _ in opened))
        return {driver: told.transactions for driver, (_, told) in zip(drivers, opened, strict=True)}


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(plan=rounds)
def test_drivers_deliver_the_same_transactions(postgres_dsn: str, plan: Sequence[Any]) -> None:
    told = asyncio.run(observe(postgres_dsn, plan))
    stream, by_sql, triggers = told[Driver.STREAM], told[Driver.SQL], told[Driver.TRIGGERS]
    assert stream == by_sql
    assert {t.xid: t.changes for t in triggers} == {t.xid: t.changes for t in stream}
    assert len(triggers) == len(stream)
    ends = [t.end_lsn for t in triggers]
    assert ends == sorted(set(ends))


async def test_unchanged_long_value_is_in_both_images(database: str) -> None:
    await captured_database.create_tables(database)
    conn = await asyncpg.connect(database)
    await conn.execute(ADD, "0xa", "1")
    await conn.execute(STAMP, "0xa", "Ens", LONG)
    async with captured_database.started_capture(database, captured_database.settings(Driver.STREAM)) as (
        capture,
        collector,
    ):
        await conn.execute("UPDATE stamp SET provider = 'Google'")
        await capture.fence()
        (change,) = collector.changes
        assert change.before is not None
        assert change.after is not None
        assert change.before["note"] == change.after["note"] == LONG
        assert list(change.after) == list(change.before)
    await conn.close()


async def test_request_id_travels_with_its_transaction(database: str) -> None:
    await captured_database.create_tables(database)
    await captured_database.install_trigger_log(database)
    conn = await asyncpg.connect(database)
    async with (
        captured_database.started_capture(database, captured_database.settings(Driver.STREAM)) as (stream, from_stream),
        captured_database.started_capture(database, captured_database.settings(Driver.TRIGGERS)) as (
            triggers,
            from_triggers,
        ),
    ):
        async with conn.transaction():
            await conn.execute("SELECT pg_logical_emit_message(true, 'shadow.request', 'r-1')")
            await conn.execute("SELECT set_config('shadow.request', 'r-1', true)")
            await conn.execute(ADD, "0xa", "1")
        await stream.fence()
        await triggers.fence()
        assert [t.request_id for t in from_stream.transactions] == ["r-1"]
        assert [t.request_id for t in from_triggers.transactions] == ["r-1"]
    await conn.close()


async def test_tagged_transaction_names_its_writer_once(database: str) -> None:
    await captured_database.create_tables(database)
    conn = await asyncpg.connect(database, server_settings={"application_name": "nightly cron"})
    await tags.install(conn, captured_database.settings(Driver.STREAM), captured_database.TABLES)
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    async with captured_database.started_capture(database, captured_database.settings(Driver.STREAM)) as (
        capture,
        collector,
    ):
        async with conn.transaction():
            await conn.execute("SELECT set_config('shadow.request', 'r-1', true)")
            await conn.execute(f"{ADD} /*traceparent='{trace}'*/", "0xa", "1")
            await conn.execute(EVENT, 2)
        await conn.execute("TRUNCATE event")
        await capture.fence()
        first, second = collector.transactions
        assert (first.application, first.request_id) == ("nightly cron", "r-1")
        assert first.messages == (LogicalMessage("shadow.request", "r-1"), LogicalMessage("shadow.traceparent", trace))
        assert (second.application, second.messages) == ("nightly cron", ())
    await changelog.remove(conn, captured_database.settings(Driver.STREAM))
    assert await conn.fetchval("SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal") == 0
    await conn.close()
