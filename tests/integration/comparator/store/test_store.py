"""The store on a real PostgreSQL."""

import asyncio
import datetime as dt
import random
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from comparator.errors import StoreUnavailableError, UnknownFindingError
from comparator.exchanges.comparison import Verdict, VerdictCause
from comparator.exchanges.model import EffectsOutcome, LeftOutReason
from comparator.exchanges.release import ReleasePair
from comparator.findings.clustering import FindingState
from comparator.postgres import connect
from comparator.postgres import migrate as postgres_migrate
from comparator.settings import StoreSettings
from comparator.stats.confidence import VerdictCounts
from comparator.store import cause_activity, queries, series
from comparator.store.comparison_detail import ComparedExchange, pack
from comparator.store.rows import ComparisonFilter
from comparator.store.schema import migrate, partition_of, partitions
from comparator.store.store import Store
from tests.support.comparisons import NOW, compared, mismatch
from tests.support.paths import ROOT

MIGRATIONS = ROOT / "comparator" / "store" / "migrations"
SINCE = NOW - dt.timedelta(days=1)


@pytest.fixture
async def store(database: str) -> AsyncIterator[Store]:
    async with Store(database, StoreSettings(timeout_s=10), random.Random(7)) as opened:
        await opened.maintain(NOW)
        yield opened


async def add_as_the_runner_does(store: Store, batch: list[ComparedExchange]) -> int:
    """Give a batch again until it is taken."""
    for _ in range(5):
        try:
            return await store.add(batch)
        except StoreUnavailableError:
            continue
    raise AssertionError("never taken")


async def test_totals_count_each_verdict_by_route_side_and_cause(store: Store) -> None:
    await store.add([compared("a"), compared("b"), mismatch("c"), compared("d", route="other")])
    async with store.connection() as conn:
        found = await queries.totals(conn, since=SINCE.date())
    assert [(t.route, t.verdict, t.cause, t.count) for t in found] == [
        ("other", "match", "none", 1),
        ("v2_score", "match", "none", 2),
        ("v2_score", "mismatch", "response", 1),
    ]


async def test_comparisons_by_the_response_only_are_counted_apart_with_the_reason(store: Store) -> None:
    batch = [compared("a"), compared("b"), mismatch("c"), compared("d", route="other")]
    lost = EffectsOutcome.ATTRIBUTED, EffectsOutcome.LOST
    batch = [
        replace(
            one,
            comparison=replace(
                one.comparison,
                effects_compared=one.exchange.id == "a",
                effects_outcomes=None if one.exchange.id == "a" else lost,
            ),
        )
        for one in batch
    ]
    for _ in range(2):
        await store.add(batch)
    async with store.connection() as conn:
        found = await queries.response_only_counts(conn, since=SINCE.date())
    assert found == {
        "other": {"legacy (mirrored): lost": VerdictCounts(match=1)},
        "v2_score": {"legacy (mirrored): lost": VerdictCounts(match=1, mismatch=1)},
    }


async def test_comparisons_without_some_tables_are_counted_apart_by_table_and_reason(store: Store) -> None:
    reasons = {"audit": LeftOutReason.SHARED, "job": LeftOutReason.OTHER_WRITER}
    batch = [compared("a"), compared("b"), mismatch("c")]
    batch = [batch[0], *(replace(one, comparison=replace(one.comparison, left_out=reasons)) for one in batch[1:])]
    for _ in range(2):
        await store.add(batch)
    async with store.connection() as conn:
        found = await queries.partial_counts(conn, since=SINCE.date())
    assert found == {"v2_score": {tuple(reasons.items()): VerdictCounts(match=1, mismatch=1)}}


async def test_everywhere_the_same_comparisons_rest_on_all_rows_on_some_tables_or_on_responses(store: Store) -> None:
    part = {"audit": LeftOutReason.SHARED}
    lost = EffectsOutcome.ATTRIBUTED, EffectsOutcome.LOST
    changes: list[dict[str, Any]] = [
        {},
        {"left_out": part},
        {"left_out": part, "verdict": Verdict.KNOWN},
        {"effects_compared": False, "effects_outcomes": lost},
        {"verdict": Verdict.FAILED, "cause": VerdictCause.TRUNCATED, "left_out": part},
    ]
    batch = [compared(f"m{number}") for number in range(len(changes))] + [mismatch("d"), mismatch("e")]
    changes += [
        {"left_out": part, "differing_tables": ("stamp",)},
        {"effects_compared": False, "effects_outcomes": lost},
    ]
    batch = [
        replace(one, comparison=replace(one.comparison, **change)) for one, change in zip(batch, changes, strict=True)
    ]
    await store.add(batch)
    span: dict[str, Any] = {"since": SINCE, "until": SINCE + dt.timedelta(days=2)}
    async with store.connection() as conn:
        charts = [await series.counts_over_time(conn, **span, bin_s=bin_s) for bin_s in (30, 300, 600)]
        lists = [
            await cause_activity.compared_activity(conn, **span, bin_length=dt.timedelta(seconds=bin_s))
            for bin_s in (30, 600)
        ]
        whole = await queries.totals(conn, since=SINCE.date())
        alone = await queries.response_only_counts(conn, since=SINCE.date())
        in_part = await queries.partial_counts(conn, since=SINCE.date())
        page = await queries.comparison_page(
            conn, ComparisonFilter(), since=SINCE, before=(span["until"], ""), limit=len(batch)
        )
        row = (await queries.comparisons(conn, since=SINCE, exchange_id="m1"))[0]
    rest = {"alone": sum(c.compared for c in alone["v2_score"].values())}
    rest["part"] = sum(c.compared for c in in_part["v2_score"].values())
    rest["whole"] = queries.counts_of(whole).compared - rest["alone"] - rest["part"]
    assert rest == {"whole": 1, "part": 3, "alone": 2}
    for bins in charts:
        counts = sum((one.counts for one in bins), VerdictCounts())
        assert (counts.compared, counts.failed) == (6, 1)
        assert (sum(b.rows_compared for b in bins), sum(b.rows_in_part for b in bins)) == (1, 3)
    assert [(one.compared, one.rows_compared, one.rows_in_part) for one in lists] == [(6, 1, 3)] * 2
    assert {line.exchange_id for line in page.lines if line.left_out == part} == {"m1", "m2", "m4", "d"}
    assert row.left_out == part


INSERT_BEFORE_0010 = (
    """
    INSERT INTO shadow.comparison (
        served_at, exchange_id, route, served_by, stage, verdict, cause, effects_compared, effects_note, served_us, mirrored_us,
        rows_served, rows_mirrored, difference_count, detail, compared_at
    ) VALUES ($1, 'old', 'r', 'legacy', 's', 'match', 'none', true, '', 1, 1, 0, 0, 0, $2, $1)
    """,
    "INSERT INTO shadow.slot_total VALUES (date_bin('10 minutes', $1::timestamptz, 'epoch'), 'r', 'legacy', 5, 4, 0, 0, 0, 9, 1, 1, 3)",
    "INSERT INTO shadow.step_count VALUES ('s', date_trunc('minute', $1::timestamptz), 'r', 'legacy', 2, 1, 0, 1, 1, 5, 4, 3)",
)


async def test_store_of_an_earlier_version_is_migrated_with_its_counts(database: str, tmp_path: Path) -> None:
    for file in sorted(MIGRATIONS.glob("*.sql"))[:9]:
        shutil.copy(file, tmp_path)
    conn = await connect(database, timeout_s=10)
    await postgres_migrate(conn, "comparator", tmp_path)
    comparison, *counts = INSERT_BEFORE_0010
    await conn.execute(comparison, NOW, pack(b'{"left_out":["audit"]}'))
    for statement in counts:
        await conn.execute(statement, NOW)
    assert len(await migrate(conn)) == len(list(MIGRATIONS.glob("*.sql"))) - 9
    span: dict[str, Any] = {"since": SINCE, "until": SINCE + dt.timedelta(days=2)}
    for bin_s in (300, 600):
        (counted,) = await series.counts_over_time(conn, **span, bin_s=bin_s)
        assert (counted.counts, counted.rows_compared, counted.rows_in_part) == (VerdictCounts(2, 1, 0, 1, 1), 3, 0)
    page = await queries.comparison_page(conn, ComparisonFilter(), since=SINCE, before=(span["until"], ""), limit=5)
    assert [line.left_out for line in page.lines] == [{"audit": LeftOutReason.UNKNOWN}]
    await conn.close()


async def test_details_of_an_earlier_version_are_read_in_lists_and_alone(store: Store) -> None:
    await store.add([compared("a"), mismatch("b")])
    async with store.connection() as conn:
        await conn.execute("UPDATE shadow.comparison SET detail = $1", pack(b'{"left_out":["audit"]}'))
        until = SINCE + dt.timedelta(days=2)
        page = await queries.comparison_page(conn, ComparisonFilter(), since=SINCE, before=(until, ""), limit=5)
        rows = await queries.comparisons(conn, since=SINCE)
        tried = await queries.newest_details(conn, since=SINCE, limit=5)
    found = [one.left_out for one in (*page.lines, *rows)] + [detail.left_out for _, _, detail in tried]
    assert found == [{"audit": LeftOutReason.UNKNOWN}] * 6


async def test_same_batch_given_twice_changes_nothing(store: Store) -> None:
    batch = [compared("a"), mismatch("b"), mismatch("c")]
    added = [await store.add(batch), await store.add(batch)]
    async with store.connection() as conn:
        found = await queries.totals(conn, since=SINCE.date())
        (finding,) = await queries.findings(conn)
    assert added == [3, 0]
    assert sum(t.count for t in found) == 3
    assert finding.count == 2


async def test_one_exchange_twice_in_a_batch_is_counted_once(store: Store) -> None:
    assert await store.add([compared("a"), compared("a")]) == 1


async def test_finding_has_count_example_and_share_of_keys(store: Store) -> None:
    await store.add([compared("a", key=1), mismatch("b", key=2), mismatch("c", key=2), mismatch("d", key=3)])
    async with store.connection() as conn:
        (finding,) = await queries.findings(conn)
    assert (finding.place, finding.kind, finding.severity, finding.state) == ("score", "changed", "changed", "new")
    assert (finding.count, finding.keys, finding.route_keys) == (3, 2, 3)
    assert finding.example == 'score: candidate "1.00000", legacy "2.00000"'


async def test_exemplars_are_bounded_and_open_again_as_cases(store: Store) -> None:
    await store.add([mismatch(str(i)) for i in range(20)])
    async with store.connection() as conn:
        (finding,) = await queries.findings(conn)
        kept = await queries.exemplars(conn, finding.id)
    assert len(kept) == store.settings.exemplars_max
    assert len({case.exchange for case in kept}) == store.settings.exemplars_max


async def test_fixed_finding_that_is_served_again_has_regressed(store: Store) -> None:
    await store.add([mismatch("a")])
    async with store.connection() as conn:
        (finding,) = await queries.findings(conn)
        await queries.set_state(conn, finding.id, FindingState.FIXED, by="ann", reason="v2", now=NOW)
    await store.add([mismatch("b", at=NOW + dt.timedelta(minutes=1))])
    async with store.connection() as conn:
        assert (await queries.finding(conn, finding.id)).state == FindingState.REGRESSED


async def test_finding_carries_its_releases(store: Store) -> None:
    old, new = ReleasePair("1.0", "8"), ReleasePair("1.1", "8")
    await store.add([replace(mismatch("a"), release=old)])
    async with store.connection() as conn:
        (finding,) = await queries.findings(conn)
        await queries.set_state(conn, finding.id, FindingState.FIXED, by="ann", reason="", now=NOW, fixed_in="1.1 / 8")
    await store.add([replace(mismatch("b", at=NOW + dt.timedelta(minutes=1)), release=new)])
    async with store.connection() as conn:
        found = await queries.finding(conn, finding.id)
        newest = await queries.newest_release(conn)
    assert (found.first_release, found.last_release) == ("1.0 / 8", "1.1 / 8")
    assert (found.fixed_in, found.regressed_in, newest) == ("1.1 / 8", "1.1 / 8", "1.1 / 8")


async def test_exchange_served_before_the_fix_does_not_reopen_a_finding(store: Store) -> None:
    await store.add([mismatch("a", at=NOW - dt.timedelta(hours=1))])
    async with store.connection() as conn:
        (finding,) = await queries.findings(conn)
        await queries.set_state(conn, finding.id, FindingState.FIXED, by="ann", reason="v2", now=NOW)
    await store.add([mismatch("b", at=NOW - dt.timedelta(minutes=1))])
    async with store.connection() as conn:
        assert (await queries.finding(conn, finding.id)).state == FindingState.FIXED


async def test_writers_of_the_same_batch_at_the_same_time_count_it_once(store: Store) -> None:
    batch = [mismatch(str(i), key=i) for i in range(20)]
    added = await asyncio.gather(*(add_as_the_runner_does(store, batch[::step]) for step in (1, -1, 1, -1)))
    async with store.connection() as conn:
        (finding,) = await queries.findings(conn)
    assert (sum(added), finding.count, finding.keys) == (20, 20, 20)


async def test_acknowledged_finding_stays_acknowledged(store: Store) -> None:
    await store.add([mismatch("a")])
    async with store.connection() as conn:
        (finding,) = await queries.findings(conn)
        await queries.set_state(conn, finding.id, FindingState.ACKNOWLEDGED, by="ann", reason="expected", now=NOW)
    await store.add([mismatch("b", at=NOW + dt.timedelta(minutes=1))])
    async with store.connection() as conn:
        found = await queries.finding(conn, finding.id)
    assert (found.state, found.state_by, found.state_reason) == (FindingState.ACKNOWLEDGED, "ann", "expected")


@pytest.mark.parametrize(
    ("remove", "put_back"),
    [
        (
            "ALTER TABLE shadow.finding RENAME COLUMN count TO gone",
            "ALTER TABLE shadow.finding RENAME COLUMN gone TO count",
        ),
        ("ALTER SCHEMA shadow RENAME TO gone", "ALTER SCHEMA gone RENAME TO shadow"),
    ],
    ids=["column", "schema"],
)
async def test_store_that_lacks_something_is_unavailable_until_it_is_back(
    database: str, store: Store, remove: str, put_back: str
) -> None:
    conn = await connect(database, timeout_s=10)
    try:
        await conn.execute(remove)
        with pytest.raises(StoreUnavailableError, match="missing"):
            await store.add([mismatch("a")])
        await conn.execute(put_back)
    finally:
        await conn.close()
    assert await store.add([mismatch("a")]) == 1


async def test_unknown_finding_is_an_error(store: Store) -> None:
    async with store.connection() as conn:
        with pytest.raises(UnknownFindingError):
            await queries.set_state(conn, "nope", FindingState.FIXED, by="", reason="", now=NOW)


async def test_known_differences_are_counted_by_declaration(store: Store) -> None:
    await store.add([mismatch("a", known=True), mismatch("b", known=True)])
    async with store.connection() as conn:
        (known,) = await queries.known_totals(conn, since=SINCE.date())
    assert (known.declaration, known.reason, known.ticket, known.count) == (
        "compare.known_differences[rounding]",
        "rounding",
        "T-1",
        2,
    )


async def test_stored_comparison_has_differences_and_rule_hits(store: Store) -> None:
    await store.add([mismatch("a")])
    async with store.connection() as conn:
        (row,) = await queries.comparisons(conn, since=SINCE, exchange_id="a")
    (difference,) = row.detail.differences
    assert (difference.place, difference.served, difference.mirrored) == ("score", '"1.00000"', '"2.00000"')
    assert [touch.rule for touch in row.detail.rule_hits] == ["compare.rules[0]"]


async def test_comparisons_can_be_queried_by_verdict(store: Store) -> None:
    await store.add([compared("a"), mismatch("b")])
    async with store.connection() as conn:
        rows = await queries.comparisons(conn, since=SINCE, verdicts=[Verdict.MISMATCH])
    assert [row.exchange_id for row in rows] == ["b"]


async def test_latency_of_both_roles_is_returned_as_quantiles(store: Store) -> None:
    await store.add([compared(str(i), served_us=1000 * i, mirrored_us=2000 * i) for i in range(1, 102)])
    async with store.connection() as conn:
        (latency,) = await queries.latency(conn, since=SINCE.date(), quantiles=(0.5,))
    assert latency.count == 101
    assert latency.served_us == (pytest.approx(51_000, rel=0.01),)
    assert latency.mirrored_us == (pytest.approx(102_000, rel=0.01),)


async def test_partitions_past_retention_are_dropped_and_totals_stay(store: Store) -> None:
    await store.add([compared("a")])
    await store.maintain(NOW + dt.timedelta(days=store.settings.retention_days + 2))
    async with store.connection() as conn:
        assert partition_of(NOW.date()) not in await partitions(conn)
        assert await queries.comparisons(conn, since=SINCE) == ()
        assert sum(t.count for t in await queries.totals(conn, since=SINCE.date())) == 1


async def test_rows_stored_before_their_partition_move_into_it(store: Store) -> None:
    later = NOW + dt.timedelta(days=5)
    await store.add([compared("early", at=later)])
    await store.maintain(later)
    async with store.connection() as conn:
        name = partition_of(later.date())
        assert await conn.fetchval(f"SELECT count(*) FROM shadow.{name}") == 1


async def test_full_partition_drops_matches_first(database: str) -> None:
    settings = StoreSettings(timeout_s=10, partition_max_rows=3)
    async with Store(database, settings, random.Random(7)) as small:
        await small.maintain(NOW)
        await small.add([compared(f"m{i}") for i in range(4)] + [mismatch("x"), mismatch("y")])
        assert await small.maintain(NOW) == 3
        async with small.connection() as conn:
            rows = await queries.comparisons(conn, since=SINCE)
    assert sorted(row.verdict for row in rows) == ["match", "mismatch", "mismatch"]


async def test_migrations_are_applied_once(store: Store) -> None:
    async with store.connection() as conn:
        assert await migrate(conn) == ()


async def test_batch_whose_last_statement_fails_leaves_nothing_behind(store: Store) -> None:
    async with store.connection() as conn:
        await conn.execute("ALTER TABLE shadow.finding RENAME TO gone_for_now")
    with pytest.raises(StoreUnavailableError, match="missing"):
        await store.add([mismatch("a")])
    async with store.connection() as conn:
        assert await queries.totals(conn, since=SINCE.date()) == ()
        await conn.execute("ALTER TABLE shadow.gone_for_now RENAME TO finding")
    assert await store.add([mismatch("a")]) == 1


async def test_batch_is_added_after_the_server_closed_all_connections(database: str, store: Store) -> None:
    killer = await asyncpg.connect(database)
    try:
        await killer.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )
    finally:
        await killer.close()
    assert await add_as_the_runner_does(store, [compared("a")]) == 1


async def test_unavailable_database_raises_store_unavailable(database: str) -> None:
    away = Store(database.replace("/t_", "/not_there_"), StoreSettings(timeout_s=2), random.Random(7))
    with pytest.raises(StoreUnavailableError):
        await away.open()


async def test_store_that_does_not_answer_in_time_says_so(store: Store) -> None:
    with pytest.raises(StoreUnavailableError, match=r"it did not answer within store\.timeout_s"):
        async with store.connection() as conn:
            # (cancelled after 10 ms: it stands for a server that does not answer)
            await conn.execute("SELECT pg_sleep(60)", timeout=0.01)


async def test_closed_store_raises_store_unavailable(store: Store) -> None:
    await store.aclose()
    with pytest.raises(StoreUnavailableError):
        await store.add([compared("a")])
