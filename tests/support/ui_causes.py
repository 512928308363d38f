"""A store with causes for the web UI: a lost stamp, a lost event, and one whose every value is hostile."""

import asyncio
import datetime as dt
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from comparator.exchanges.model import Observation, Side
from comparator.exchanges.row_changes import REQUEST_MESSAGE_PREFIX, LogicalMessage, RowChange, Transaction
from comparator.findings.cases import case_of
from comparator.findings.clustering import Clusterer
from comparator.findings.redaction import Redactor, keyed_digest
from comparator.settings import CompareSettings, RuleSettings, StoreSettings
from comparator.store import causes
from comparator.store.comparison_detail import ComparedExchange
from comparator.store.store import Store
from comparator.store.timeline import MirrorSteps, MirrorTimes, timeline_of
from comparator.tables import Table, Volatile
from comparator.verdict import Comparator
from proxy.config.databases import DatabasesSettings
from proxy.config.listen import AdminSettings
from proxy.config.rollout import AccessSettings, RolloutSettings
from proxy.config.settings import Settings
from proxy.config.ui import UiSettings
from tests.support.comparisons import effects, exchange, insert, mirrored, response, served, update

NOTHING_LISTENS = 9
SCRIPT = "<script>window.hacked=1</script>"
HOSTILE = f"\"'></td>{SCRIPT}\u202eabc\x1b[31mred\x00&amp;{{{{7*7}}}}<img src=x onerror=window.hacked=1>"
COMPARE = CompareSettings(
    rules=(RuleSettings(path="last_score_timestamp", time_within_ms=60_000, owner="scoring", reason="own clocks"),),
    tables={
        "registry_stamp": Table(natural_key=("address", "provider"), ignore_columns=("id",)),
        "registry_event": Table(natural_key=("action", "address"), discriminator=("action",), ignore_columns=("id",)),
        "registry_score": Table(
            natural_key=("address",), ignore_columns=("id",), volatile={"at": Volatile(within_ms=60_000)}
        ),
    },
    redact=("x-api-key", "api_key"),
)


def settings(store_dsn: str, *, jwt_secret: str = "") -> Settings:
    """Return the settings of a UI whose store is there, and no other part."""
    return Settings(
        admin=AdminSettings(port=NOTHING_LISTENS),
        rollout=RolloutSettings(access=AccessSettings(jwt_secret=jwt_secret)),
        databases=DatabasesSettings(store=store_dsn),
        compare=COMPARE,
        ui=UiSettings(port=0, refresh_s=300),
    )


@dataclass(frozen=True)
class Pair:
    """The responses and committed rows of both sides."""

    candidate: object
    legacy: object
    candidate_rows: Sequence[RowChange] = ()
    legacy_rows: Sequence[RowChange] = ()


def _score(address: str, score: str, stamps: Sequence[str], second: int) -> dict[str, object]:
    return {
        "address": address,
        "score": score,
        "passing_score": True,
        "last_score_timestamp": f"2026-11-30T04:00:{second:02}.939466+00:00",
        "threshold": "20",
        "error": None,
        "api_key": "s3cret",
        "stamps": {name: {"score": "1.5", "dedup": False} for name in stamps},
    }


def lost_stamp(number: int) -> Pair:
    """Return an exchange in which the legacy does not write a stamp again."""
    address = f"0x{number:04x}"
    before = {"id": number, "address": address, "points": "6.463", "at": "2026-11-30 04:00:29+00"}
    stamps = [
        insert("registry_stamp", id=number * 10 + n, address=address, provider=name)
        for n, name in enumerate(("Ens", "BeginnerCommunityStaker", "SelfStakingGold"))
    ]
    return Pair(
        _score(address, "6.46300", ("BeginnerCommunityStaker", "Ens", "SelfStakingGold"), 30),
        _score(address, "3.76300", ("BeginnerCommunityStaker", "Ens"), 31),
        (*stamps, update("registry_score", before, at="2026-11-30 04:00:30+00")),
        (*stamps[:2], update("registry_score", before, points="3.763", at="2026-11-30 04:00:31+00")),
    )


def lost_event(number: int) -> Pair:
    """Return an exchange in which the legacy does not write an event."""
    address = f"0x{number:04x}"
    body = _score(address, "2.00000", ("Ens",), 30)
    return Pair(body, body, (insert("registry_event", id=number, action="SCU", address=address),), ())


def hostile(number: int) -> Pair:
    """Return an exchange with hostile names and values, a value of a megabyte, and a table of 10,000 rows."""
    rows = [
        insert("registry_link", id=n, address=HOSTILE.replace("\x00", ""), provider=f"{SCRIPT}{n}")
        for n in range(10_000)
    ]
    megabyte = "x" * 500_000 + str(number) + "y" * 500_000
    return Pair(
        {HOSTILE: HOSTILE, "long": megabyte, SCRIPT: {"a": [HOSTILE, 1]}, "same": SCRIPT},
        {HOSTILE: f"{HOSTILE}!", "long": megabyte.replace("y", "z", 1), SCRIPT: {"a": [SCRIPT]}, "same": SCRIPT},
        rows if number % 5 == 0 else rows[:20],
        (),
    )


def equal(number: int) -> Pair:
    """Return an exchange without a difference."""
    body = _score(f"0x{number:04x}", "1.00000", ("Ens",), 30)
    return Pair(body, body)


def compared(
    identity: str, pair: Pair, *, at: dt.datetime, key: int, served_by: Side = Side.CANDIDATE
) -> ComparedExchange:
    """Compare a pair as the runner does, with timeline, redaction and example."""
    redactor = Redactor(COMPARE.redact, keyed_digest(b"salt"))
    bodies = {Side.CANDIDATE: response(pair.candidate), Side.LEGACY: response(pair.legacy)}
    changes = {Side.CANDIDATE: pair.candidate_rows, Side.LEGACY: pair.legacy_rows}
    start_us = int(at.timestamp() * 1e6)
    own = _tagged(
        served(bodies[served_by], effects(*changes[served_by]), side=served_by, us=5_730), identity, start_us + 5_090
    )
    other_side = served_by.other
    other = _tagged(
        mirrored(bodies[other_side], effects(*changes[other_side]), side=other_side, us=62_900), "", start_us + 315_000
    )
    one = replace(
        exchange(identity, key=f"0x{key:04x}"),
        started_ns=start_us * 1_000,
        ended_ns=start_us * 1_000 + 5_730_000,
        served_by=served_by,
        stage="candidate_25",
        first_byte_us=5_410,
    )
    comparison = Comparator(COMPARE).compare("v2_score", own, other, now=at)
    mismatch = comparison.verdict == "mismatch"
    occurrences = Clusterer(tables=COMPARE.tables).occurrences("v2_score", comparison)
    steps = [
        MirrorSteps(*(start_us + ms * 1_000 for ms in row)) for row in ((290, 353, 356, 376), (420, 480, 485, 496))
    ]
    times = MirrorTimes(start_us + 284_000, steps[0], steps[1] if mismatch else None, start_us + 541_000)
    return ComparedExchange(
        exchange=one,
        served=own,
        mirrored=other,
        comparison=replace(redactor.comparison(comparison), confirmed=True if mismatch else None),
        compared_at=at + dt.timedelta(milliseconds=538),
        key_digest=key,
        occurrences=tuple(map(redactor.occurrence, occurrences)),
        case=case_of(one, own, other, redactor) if mismatch else None,
        timeline=timeline_of(one, times, own, other, writer="proxy-1"),
    )


def _tagged(observation: Observation, identity: str, committed_us: int) -> Observation:
    messages = (LogicalMessage(REQUEST_MESSAGE_PREFIX, identity),) if identity else ()
    transactions = tuple(
        Transaction(16559, one.commit_lsn, one.end_lsn, committed_us, one.changes, messages)
        for one in observation.effects.transactions
    )
    return replace(observation, effects=replace(observation.effects, transactions=transactions))


PLAN: Sequence[tuple[str, Callable[[int], Pair], int]] = (
    ("equal", equal, 60),
    ("stamp", lost_stamp, 12),
    ("event", lost_event, 6),
    ("hostile", hostile, 4),
)


@asynccontextmanager
async def filled_store(dsn: str) -> AsyncIterator[Store]:
    """Provide a store with these exchanges of the last minutes, and their causes."""
    now = dt.datetime.now(dt.UTC)
    async with Store(dsn, StoreSettings(timeout_s=60), random.Random(7)) as store:
        await store.maintain(now)
        for name, pair_of, count in PLAN:
            batch = [
                compared(
                    f"{name}{number:03}c38cdd933f1d5c99",
                    pair_of(number),
                    at=now - dt.timedelta(seconds=300 - 240 * number // count),
                    key=number % 7,
                    served_by=Side.LEGACY if name == "event" and number % 2 else Side.CANDIDATE,
                )
                for number in range(count)
            ]
            await store.add(batch)
        async with store.connection() as conn:
            await causes.refresh_causes(conn, now=now, force=True)
        yield store


async def main() -> None:
    """Serve the UI of such a store until interrupted, for looking at it."""
    from proxy.ui.app import running  # noqa: PLC0415
    from tests.support import postgres  # noqa: PLC0415

    for dsn in postgres.session_cluster():
        async with (
            postgres.temporary_database(dsn) as database,
            filled_store(database),
            running(settings(database)) as url,
        ):
            print(url, flush=True)
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
