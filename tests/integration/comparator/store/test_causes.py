"""Causes on a real PostgreSQL: solved from what was stored, kept over time, with their states and releases."""

import asyncio
import datetime as dt
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from bench.store import questions
from comparator.errors import UnknownCauseError
from comparator.exchanges.difference import Difference, Kind, RuleHit
from comparator.exchanges.json_values import ABSENT
from comparator.exchanges.release import NO_RELEASE, ReleasePair
from comparator.findings.clustering import FindingState
from comparator.settings import StoreSettings
from comparator.store import cause_activity, causes, queries, series
from comparator.store.comparison_detail import ComparedExchange
from comparator.store.rows import ComparisonFilter
from comparator.store.store import Store
from comparator.tables import Table
from tests.support.comparisons import NOW, exchange_with

TABLES = {"event": Table(natural_key=("action", "address"), discriminator=("action",))}
LOST = Difference(Kind.MISSING_ROW, (), {"provider": "Ens"}, ABSENT, "stamp", ("1", "Ens"))
SCORE = Difference(Kind.CHANGED, ("score",), "2.5", "1.0")
PASSING = Difference(Kind.CHANGED, ("passing",), True, False)
SCU = Difference(Kind.MISSING_ROW, (), {"action": "SCU"}, ABSENT, "event", ("SCU", "0x1"))
LDP = Difference(Kind.MISSING_ROW, (), {"action": "LDP"}, ABSENT, "event", ("LDP", "0x1"))
ERROR = Difference(Kind.STATUS, (), 200, 500)
LATER = NOW + dt.timedelta(hours=1)


@pytest.fixture
async def store(database: str) -> AsyncIterator[Store]:
    async with Store(database, StoreSettings(timeout_s=10), random.Random(7)) as opened:
        await opened.maintain(NOW)
        yield opened
        async with opened.connection() as conn:
            assert await conn.fetch(HOURS_THAT_DIFFER) == []


HOURS_THAT_DIFFER = """
SELECT cause_id, hour, served_by, stage, kept.count AS kept, counted.count AS counted
FROM shadow.cause_hour AS kept FULL JOIN (
    SELECT cause_id, date_bin('1 hour', slot, 'epoch') AS hour, served_by, stage, sum(count) AS count
    FROM shadow.finding_set_slot JOIN shadow.cause_set USING (set_id) GROUP BY 1, 2, 3, 4
) AS counted USING (cause_id, hour, served_by, stage)
WHERE kept.count IS DISTINCT FROM counted.count
"""
"""The counts of causes by hour that are not those of their sets: none, at the end of each test."""


def exchanges(
    name: str,
    *differences: Difference,
    count: int = 5,
    at: dt.datetime = NOW,
    route: str = "v2_score",
    release: ReleasePair = NO_RELEASE,
) -> list[ComparedExchange]:
    return [
        exchange_with(f"{name}{number}", *differences, at=at, key=number, route=route, release=release, tables=TABLES)
        for number in range(count)
    ]


async def solved(store: Store, *, now: dt.datetime = NOW) -> Sequence[causes.CauseRow]:
    async with store.connection() as conn:
        await causes.refresh_causes(conn, now=now, force=True)
        return (await causes.causes(conn)).causes


async def test_two_faults_are_two_causes_with_their_exchanges_keys_and_example(store: Store) -> None:
    await store.add(
        exchanges("lost", LOST, SCORE, count=6)
        + exchanges("more", LOST, SCORE, PASSING, count=3)
        + exchanges("event", SCU, count=4)
        + exchanges("both", LOST, SCORE, SCU, count=1)
    )
    lost, event = await solved(store)
    assert (lost.body.title.place, lost.exchanges, lost.keys) == ("stamp", 10, 6)
    assert (event.body.title.where, event.exchanges, event.keys) == ("event (action=SCU)", 5, 4)
    assert [shown.token.place for shown in lost.body.sometimes] == ["passing"]
    async with store.connection() as conn:
        listed = await causes.causes(conn)
        (example, *_) = await causes.cases_of(conn, lost)
    assert (listed.mismatches, listed.unattributed) == (14, 0)
    assert example.exchange.startswith("lost")


async def test_rows_of_two_discriminators_are_two_causes(store: Store) -> None:
    await store.add(exchanges("a", SCU) + exchanges("b", LDP) + exchanges("c", SCU, LDP))
    assert {cause.body.title.discriminator: cause.exchanges for cause in await solved(store)} == {
        "action=SCU": 10,
        "action=LDP": 10,
    }


async def test_one_fault_on_two_routes_is_one_cause(store: Store) -> None:
    await store.add(exchanges("a", LOST, SCORE) + exchanges("b", LOST, SCORE, route="embed_score"))
    (cause,) = await solved(store)
    assert cause.routes == ("embed_score", "v2_score")
    assert len(cause.findings) == 4


async def test_ids_stay_while_evidence_grows(store: Store) -> None:
    await store.add(exchanges("a", LOST, SCORE))
    (before,) = await solved(store)
    await store.add(exchanges("b", LOST, SCORE, PASSING, count=30) + exchanges("c", SCU, count=40))
    assert before.id in {cause.id for cause in await solved(store)}


async def test_acknowledged_cause_covers_its_findings_and_later_ones(store: Store) -> None:
    await store.add(exchanges("a", LOST, SCORE) + exchanges("b", SCU))
    (lost, _) = sorted(await solved(store), key=lambda cause: cause.body.title.place, reverse=True)
    async with store.connection() as conn:
        covered = await causes.set_cause_state(
            conn, lost.id, FindingState.ACKNOWLEDGED, by="ann", reason="known", now=NOW
        )
    await store.add(exchanges("c", LOST, SCORE, PASSING, at=LATER))
    rows = {row.id: row for row in await solved(store, now=LATER)}
    async with store.connection() as conn:
        states = {finding.place: finding.state for finding in await queries.findings(conn)}
    assert covered == 2
    assert (rows[lost.id].state, rows[lost.id].joined) == ("acknowledged", 1)
    assert states == {"stamp": "acknowledged", "score": "acknowledged", "passing": "acknowledged", "event": "new"}


async def test_finding_of_two_causes_is_covered_when_both_are(store: Store) -> None:
    await store.add(exchanges("a", LOST, SCORE, count=8) + exchanges("b", SCU, SCORE, count=8))
    ids = [cause.id for cause in await solved(store)]
    found: list[str] = []
    async with store.connection() as conn:
        for identity in ids:
            await causes.set_cause_state(conn, identity, FindingState.ACKNOWLEDGED, by="ann", reason="known", now=NOW)
            found += [one.state for one in await queries.findings(conn) if one.place == "score"]
    assert found == ["new", "acknowledged"]


async def test_fixed_cause_that_is_seen_again_has_regressed_in_the_release(store: Store) -> None:
    await store.add(exchanges("a", SCU, release=ReleasePair("1.0", "8")))
    (cause,) = await solved(store)
    async with store.connection() as conn:
        await causes.set_cause_state(
            conn, cause.id, FindingState.FIXED, by="ann", reason="fixed", now=NOW, fixed_in="1.1 / 8"
        )
    await store.add(exchanges("b", SCU, at=LATER, release=ReleasePair("1.2", "8")))
    (again,) = await solved(store, now=LATER)
    assert (again.id, again.state) == (cause.id, "regressed")
    assert (again.first_release, again.last_release) == ("1.0 / 8", "1.2 / 8")
    assert (again.fixed_in, again.regressed_in) == ("1.1 / 8", "1.2 / 8")


async def test_release_without_the_cause_is_named_once_it_would_have_shown(store: Store) -> None:
    old, new = ReleasePair("1.0", "8"), ReleasePair("1.1", "8")
    await store.add(exchanges("a", SCU, count=10, release=old) + exchanges("m", count=10, release=old))
    await store.add(exchanges("n", count=9, at=LATER, release=new))
    (cause,) = await solved(store)
    async with store.connection() as conn:
        before = await causes.cause(conn, cause.id)
    await store.add(exchanges("o", count=1, at=LATER, release=new))
    async with store.connection() as conn:
        after = await causes.cause(conn, cause.id)
    assert (before.gone_in, after.gone_in) == ("", "1.1 / 8")


async def test_causes_of_few_exchanges_are_provisional(store: Store) -> None:
    await store.add(exchanges("a", SCU, count=2) + exchanges("b", LOST, count=3))
    states = {cause.body.title.place: cause.provisional for cause in await solved(store)}
    assert states == {"event": True, "stamp": False}
    async with store.connection() as conn:
        assert await causes.causes_by_state(conn) == {"new": 1, "provisional": 1}


async def test_merged_cause_keeps_its_id_as_a_pointer(store: Store) -> None:
    await store.add(exchanges("a", LOST, count=5) + exchanges("b", SCU, count=6))
    first, second = await solved(store)
    async with store.connection() as conn:
        await conn.execute("UPDATE shadow.cause SET merged_into = $2 WHERE id = $1", second.id, first.id)
        shown = await causes.cause(conn, second.id)
    assert shown.id == first.id
    assert second.id in shown.former_ids


async def test_unknown_cause_is_an_error(store: Store) -> None:
    async with store.connection() as conn:
        with pytest.raises(UnknownCauseError):
            await causes.cause(conn, "nope")


async def test_solvers_at_the_same_time_make_the_same_causes_once(store: Store) -> None:
    await store.add(exchanges("a", LOST, SCORE) + exchanges("b", SCU))

    async def refresh() -> None:
        async with store.connection() as conn:
            await causes.refresh_causes(conn, now=NOW, force=True)

    await asyncio.gather(*(refresh() for _ in range(3)))
    async with store.connection() as conn:
        assert len((await causes.causes(conn)).causes) == 2


async def test_nothing_is_solved_while_nothing_is_new(store: Store) -> None:
    await store.add(exchanges("a", LOST))
    async with store.connection() as conn:
        results = [await causes.refresh_causes(conn, now=NOW + dt.timedelta(minutes=n)) for n in range(2)]
    assert [result is not None for result in results] == [True, False]


async def test_rarest_sets_beyond_the_bound_are_folded_and_no_exchange_is_lost(store: Store) -> None:
    fields = [Difference(Kind.CHANGED, (f"field{c}",), 1, 2) for c in "abcdefgh"]
    batch = exchanges("base", LOST, count=20)
    for number, one in enumerate(fields):
        batch += exchanges(f"x{number}", LOST, one, count=3)
    await store.add(batch)
    async with store.connection() as conn:
        await causes.refresh_causes(conn, now=NOW, force=True, sets_max=3)
        kept = await conn.fetchval("SELECT count(*) FROM shadow.finding_set")
    (cause,) = await solved(store)
    assert kept == 3
    assert cause.exchanges == 44
    assert sum(count for *_, count in await slots_of(store)) == 44


async def test_days_are_counted_apart_and_compared(store: Store) -> None:
    yesterday = NOW - dt.timedelta(days=1)
    await store.add(exchanges("a", LOST, at=yesterday) + exchanges("b", LOST, count=2) + exchanges("c", SCU, count=3))
    await solved(store)
    async with store.connection() as conn:
        today = await causes.causes(conn, since=NOW.date())
        before = await causes.exchanges_by_cause(conn, until=yesterday.date())
    assert {cause.body.title.place: cause.exchanges for cause in today.causes} == {"stamp": 2, "event": 3}
    assert list(before.values()) == [5]


async def test_exchanges_added_while_sets_are_folded_are_not_lost(store: Store) -> None:
    fields = [Difference(Kind.CHANGED, (f"field{number}",), 1, 2) for number in range(12)]
    await store.add(exchanges("base", LOST, count=20))

    async def add() -> None:
        for number, one in enumerate(fields):
            await store.add(exchanges(f"x{number}", LOST, one, count=3))

    async def solve() -> None:
        for _ in range(len(fields)):
            async with store.connection() as conn:
                await causes.refresh_causes(conn, now=NOW, force=True, sets_max=2)

    await asyncio.gather(add(), solve())
    (cause,) = await solved(store)
    assert cause.exchanges == 20 + 3 * len(fields)


async def slots_of(store: Store) -> list[tuple[dt.datetime, str, str, int]]:
    async with store.connection() as conn:
        records = await conn.fetch(
            "SELECT slot, served_by, stage, sum(count)::bigint AS count FROM shadow.finding_set_slot GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
        )
    return [tuple(record.values()) for record in records]


async def test_exchanges_of_a_set_are_counted_by_ten_seconds_side_and_stage(store: Store) -> None:
    batch = exchanges("a", LOST, count=2) + exchanges("b", LOST, count=3, at=NOW + dt.timedelta(seconds=19))
    await store.add(batch)
    await store.add(batch)
    assert await slots_of(store) == [
        (NOW, "candidate", "candidate_100", 2),
        (NOW + dt.timedelta(seconds=10), "candidate", "candidate_100", 3),
    ]


async def test_old_slots_are_folded_into_ten_minutes_and_lose_nothing(store: Store) -> None:
    await store.add(
        exchanges("a", LOST, count=2)
        + exchanges("b", LOST, count=3, at=NOW + dt.timedelta(seconds=19))
        + exchanges("c", LOST, count=4, at=LATER)
    )
    now = NOW + dt.timedelta(hours=2, minutes=30)
    await store.maintain(now)
    await store.maintain(now)
    assert await slots_of(store) == [
        (NOW, "candidate", "candidate_100", 5),
        (LATER, "candidate", "candidate_100", 4),
    ]
    await store.maintain(now + dt.timedelta(days=30))
    assert await slots_of(store) == []


async def test_hours_of_causes_are_kept_while_sets_are_added_moved_and_solved_at_once(store: Store) -> None:
    await store.add(exchanges("first", LOST, SCORE, count=6))
    await solved(store)

    async def add(number: int) -> None:
        extra = (SCU, LDP, PASSING, ERROR)[number % 4]
        await store.add(
            exchanges(f"n{number}-", LOST, SCORE, extra, count=2, at=NOW + dt.timedelta(minutes=20 * number))
        )

    async def solve() -> None:
        async with store.connection() as conn:
            await causes.refresh_causes(conn, now=NOW, force=True, sets_max=3)

    await asyncio.gather(*(work for number in range(12) for work in (add(number), solve())))
    rows = await solved(store)
    async with store.connection() as conn:
        span = {"since": NOW, "until": NOW + dt.timedelta(hours=6), "bin_length": dt.timedelta(hours=1)}
        activity = await cause_activity.cause_activity(conn, **span)
    assert sum(activity[rows[0].id].bins.values()) == rows[0].exchanges
    assert len(activity[rows[0].id].bins) > 1


async def test_slots_of_comparisons_have_the_verdicts_and_durations_of_the_minutes(store: Store) -> None:
    await store.add(exchanges("a", LOST, count=3) + exchanges("same", count=4) + exchanges("b", SCU, count=2, at=LATER))
    span: dict[str, Any] = {"since": NOW, "until": NOW + dt.timedelta(hours=2)}
    async with store.connection() as conn:
        by_minute = await series.counts_over_time(conn, **span, bin_s=300)
        by_slot = await series.counts_over_time(conn, **span, bin_s=600)
        durations = await series.durations_over_time(conn, **span, bin_s=600)
        of_minutes = await series.durations_over_time(conn, **span, bin_s=300)
        fine = await series.durations_over_time(conn, **span, bin_s=30)
    assert [one.counts for one in by_slot] == [one.counts for one in by_minute]
    assert [one.rows_compared for one in by_slot] == [7, 2]
    assert [one.quantile_ms for one in durations] == [one.quantile_ms for one in of_minutes]
    assert [one.quantile_ms for one in durations] == pytest.approx([one.quantile_ms for one in fine], rel=0.04)
    assert [(one.begins, one.side, one.count) for one in durations] == [
        (at, side, count) for at, count in ((NOW, 7), (LATER, 2)) for side in ("candidate", "legacy")
    ]


async def test_what_status_causes_and_findings_ask_reads_no_comparison(store: Store) -> None:
    await store.add(exchanges("a", LOST, count=3) + exchanges("b", SCU, count=3))
    first, old = await solved(store)
    async with store.connection() as conn:
        asked = questions(conn, first, old, finding=first.findings[0], now=NOW)
        with pytest.raises(asyncpg.UndefinedTableError):
            async with conn.transaction():
                await conn.execute("ALTER TABLE shadow.comparison RENAME TO away")
                answers = {name: await ask() for name, ask in asked.items()}
                # The right test: a question that does read comparisons fails.
                await queries.comparisons(conn, since=NOW)
    assert len(answers) == len(asked)


async def test_exchanges_are_counted_once_for_each_rule_that_applied(store: Store) -> None:
    hit, expired = RuleHit("compare.rules[0]", ("at",)), RuleHit("compare.rules[1]", ("score",), expired=True)
    batch = [
        replace(one, comparison=replace(one.comparison, rule_hits=hits))
        for one, hits in zip(exchanges("a", count=2), ((hit, hit), (hit, expired)), strict=True)
    ]
    await store.add(batch)
    await store.add(batch)
    async with store.connection() as conn:
        totals = await queries.rule_totals(conn, since=NOW.date())
    assert [(one.rule, one.hits, one.expired) for one in totals] == [
        ("compare.rules[0]", 2, 0),
        ("compare.rules[1]", 0, 1),
    ]


@pytest.mark.parametrize(
    "chosen", [ComparisonFilter(status=200), ComparisonFilter(route="v2_score"), ComparisonFilter(verdict="mismatch")]
)
async def test_search_for_a_page_ends_early_and_can_be_gone_on_with(store: Store, chosen: ComparisonFilter) -> None:
    rare = replace(chosen, served_us_min=10_000_000)
    await store.add(exchanges("a", LOST, count=9))
    span = {"since": NOW, "limit": 50}
    async with store.connection() as conn:
        first = await queries.comparison_page(conn, rare, **span, before=(LATER, ""), searched_max=5)
        assert (first.lines, first.searched_to) == ((), (NOW, "a4"))
        assert first.searched_to is not None
        rest = await queries.comparison_page(conn, rare, **span, before=first.searched_to, searched_max=5)
        found = await queries.comparison_page(conn, chosen, **span, before=first.searched_to, searched_max=5)
    assert (rest.lines, rest.searched_to) == ((), None)
    assert [line.exchange_id for line in found.lines] == ["a3", "a2", "a1", "a0"]


async def acknowledged_until(store: Store, until: causes.Until) -> str:
    await store.add(exchanges("a", LOST, SCORE))
    (cause,) = await solved(store)
    async with store.connection() as conn:
        await causes.set_cause_state(
            conn, cause.id, FindingState.ACKNOWLEDGED, by="ann", reason="being fixed", now=NOW, until=until
        )
    return cause.id


async def test_cause_acknowledged_until_more_exchanges_is_open_again_beyond_them(store: Store) -> None:
    await acknowledged_until(store, causes.Until("scoring", exchanges_more=3))
    await store.add(exchanges("b", LOST, SCORE, count=3, at=LATER))
    (at_the_bound,) = await solved(store, now=LATER)
    await store.add(exchanges("c", LOST, SCORE, count=1, at=LATER))
    (beyond,) = await solved(store, now=LATER)
    async with store.connection() as conn:
        states = {finding.state for finding in await queries.findings(conn)}
    assert (at_the_bound.state, at_the_bound.owner, at_the_bound.until_exchanges) == ("acknowledged", "scoring", 8)
    assert (beyond.state, beyond.state_by, beyond.until_exchanges) == ("new", "shadow", None)
    assert beyond.state_reason == "more than 8 exchanges; acknowledged by ann: being fixed"
    assert states == {"new"}


async def test_cause_acknowledged_until_a_day_is_open_again_when_it_occurs_later(store: Store) -> None:
    await acknowledged_until(store, causes.Until(day=NOW.date()))
    next_day = NOW + dt.timedelta(days=1)
    (without,) = await solved(store, now=next_day)
    await store.add(exchanges("b", LOST, SCORE, count=1, at=next_day))
    (again,) = await solved(store, now=next_day)
    assert (without.state, again.state) == ("acknowledged", "new")
    assert again.state_reason == f"after {NOW.date()}; acknowledged by ann: being fixed"


async def test_activity_of_causes_is_read_by_bin_side_and_stage(store: Store) -> None:
    await store.add(
        exchanges("a", LOST, count=2)
        + exchanges("b", LOST, SCU, count=3, at=NOW + dt.timedelta(seconds=40))
        + exchanges("c", SCU, count=1, at=LATER)
    )
    rows = {cause.body.title.place: cause.id for cause in await solved(store)}
    span = {"since": NOW, "until": NOW + dt.timedelta(minutes=10), "bin_length": dt.timedelta(seconds=30)}
    async with store.connection() as conn:
        activity = await cause_activity.cause_activity(conn, **span)
        compared = await cause_activity.compared_activity(conn, **span)
        keys = await cause_activity.keys_seen(conn)
        tables = await cause_activity.tables_by_cause(conn)
        example = await cause_activity.example_of_exchange(conn, "a1")
        none = await cause_activity.example_of_exchange(conn, "nope")
    stamp, event = activity[rows["stamp"]], activity[rows["event"]]
    assert stamp.bins == {NOW: 2, NOW + dt.timedelta(seconds=30): 3}
    assert (stamp.exchanges, event.exchanges) == (5, 3)
    assert (stamp.by_side, stamp.by_stage) == ({"candidate": 5}, {"candidate_100": 5})
    assert (compared.compared, compared.mismatches, compared.by_side) == (5, 5, {"candidate": 5})
    assert keys == 3
    assert tables == {rows["stamp"]: ("stamp",), rows["event"]: ("event",)}
    assert example is not None
    assert example.exchange == "a1"
    assert none is None


@pytest.mark.parametrize(
    ("span", "age", "seconds"),
    [
        (dt.timedelta(minutes=5), dt.timedelta(minutes=5), 10),
        (dt.timedelta(minutes=15), dt.timedelta(minutes=15), 30),
        (dt.timedelta(minutes=15), dt.timedelta(days=1), 600),
        (dt.timedelta(days=14), dt.timedelta(days=14), 86_400),
    ],
)
def test_bins_are_as_short_as_their_number_and_the_stored_slots_allow(
    span: dt.timedelta, age: dt.timedelta, seconds: int
) -> None:
    assert cause_activity.bin_length_of(span, bins_max=30, age=age) == dt.timedelta(seconds=seconds)
