"""A mismatch is confirmed by a second run from the state before the first one, or not at all; what was not sent is not waited for."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import cast

import pytest

from comparator.capture.attribution import Claim, KeyedTransaction
from comparator.capture.attribution_keys import Keys, RowId
from comparator.exchanges.comparison import Verdict
from comparator.exchanges.model import EffectsOutcome, Exchange, Failed, FailureCause, Side
from comparator.settings import CompareSettings
from comparator.verdict import Comparator, Lookups
from proxy.runner.ledger import MirrorRun
from proxy.runner.mirror import Mirror
from proxy.runner.mirror_client import LateResponse, MirroredResponse
from proxy.runner.row_targets import Alignment
from proxy.runner.row_writer import CONTRADICTED, WrittenRows
from proxy.runner.shadow_state import Feed
from tests.support.comparisons import effects, exchange, insert, response
from tests.support.schemas import LEGACY_SCHEMAS

UNDONE, NO_KEYS = WrittenRows(1), frozenset[tuple[str, str]]()


@dataclass
class Rules:
    """Rules that do not change."""

    comparator: Comparator


@dataclass
class MirroredSide:
    """Answers with another score than the served side, and inserts a passport with each request; or gives this response."""

    sent: int = 0
    instead: MirroredResponse | None = None
    given_up: list[str] = field(default_factory=list[str])

    async def send(self, exchange: Exchange, side: Side) -> MirroredResponse:
        """Answer."""
        del exchange, side
        self.sent += 1
        return self.instead or MirroredResponse(response({"score": "2"}), 1_000)

    def open(self, run_id: str, keys: Keys, *, tagged: bool, now_us: int, side: Side | None = None) -> None:
        """Open nothing."""

    def collect(self, run_id: str, *, since_us: int | None = None) -> Claim:
        """Return the row of the request that was sent last."""
        row = insert("registry_passport", id=self.sent, address="0xabc", community_id=1)
        transactions = tuple(KeyedTransaction(one, NO_KEYS, frozenset()) for one in effects(row).transactions)
        return Claim(EffectsOutcome.ATTRIBUTED, transactions, NO_KEYS)

    def give_up(self, run_id: str, rows: Collection[RowId], *, now_us: int, late: LateResponse | None = None) -> Claim:
        """Note it."""
        del late
        self.given_up.append(run_id)
        return Claim(EffectsOutcome.ATTRIBUTED, (), NO_KEYS)


@dataclass
class QuietFeed:
    """Has delivered everything, and is never interrupted."""

    interruptions: int = 0

    async def fence(self) -> None:
        """Return at once."""


@dataclass
class Shadow:
    """Takes alignments, the first with a given result."""

    first: WrittenRows
    taken: list[Alignment] = field(default_factory=list[Alignment])

    async def align(self, work: Alignment) -> WrittenRows:
        """Take one."""
        self.taken.append(work)
        return self.first if len(self.taken) == 1 else UNDONE


RUN = MirrorRun(1, exchange("x"), Claim(EffectsOutcome.ATTRIBUTED, (), NO_KEYS))


def mirror_of(side: MirroredSide) -> Mirror:
    return Mirror(
        client=side,
        effects=side,
        feed=cast("Feed", QuietFeed()),
        primary_keys={"registry_passport": ("id",)},
        schemas=LEGACY_SCHEMAS,
        rules=Rules(Comparator(CompareSettings())),
        lookups=Lookups(),
        tagged_sides=frozenset(),
        may_confirm=lambda: True,
    )


@pytest.mark.parametrize(
    ("undone", "runs", "confirmed"),
    [
        (UNDONE, 2, True),
        (WrittenRows(1, drifted=(("registry_passport", ("1",)),)), 2, True),
        (WrittenRows(1, unequal=(("registry_passport", ("1",)),)), 1, None),
        (CONTRADICTED, 1, None),
    ],
)
async def test_second_run_starts_from_the_state_before_or_not_at_all(
    undone: WrittenRows, runs: int, *, confirmed: bool | None
) -> None:
    side, shadow = MirroredSide(), Shadow(undone)
    result = await mirror_of(side).run(RUN, shadow.align)
    assert result.comparison is not None
    assert (result.comparison.verdict, result.comparison.confirmed) == (Verdict.MISMATCH, confirmed)
    assert side.sent == runs
    # What the run left is undone in the end in any case.
    assert [row.target for row in shadow.taken[-1].rows] == [None]


@pytest.mark.parametrize(("sent", "given_up"), [(True, ["x"]), (False, [])])
async def test_late_writes_are_waited_for_only_where_the_request_was_sent(*, sent: bool, given_up: list[str]) -> None:
    failed = Failed(FailureCause.TIMEOUT, "no response")
    side = MirroredSide(instead=MirroredResponse(failed, 1_000, sent))
    result = await mirror_of(side).run(RUN, Shadow(UNDONE).align)
    assert result.mirrored.outcome == failed
    assert side.given_up == given_up
