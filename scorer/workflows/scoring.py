"""Score one address in one community: the whole pipeline in one transaction.

Stages: lock the passport, load stamps and links, examine, verify proofs, plan the deduplication, write links, weigh, award points,
save. The lock serializes the scorings of one address. If another address has taken a link meanwhile, the whole transaction is retried
(`RacedError`); after the last attempt the score is stored with status ERROR.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from scorer.credentials import CredentialVerifier
from scorer.db import awards, hash_links, passports, scores, scoring_events, stamps
from scorer.db.communities import Community
from scorer.db.passports import Passport
from scorer.db.pool import Connection, Database, RacedError
from scorer.domain.awards import awards_due
from scorer.domain.dedup import DedupPlan, HashLink, plan_dedup
from scorer.domain.scoring import RULE_LIFO, Score, ScorerConfig, dedup_event, failed, weigh
from scorer.domain.stamp import DropCause, Stamp, StoredStamp, examine_all
from scorer.errors import LinksContestedError, ScorerUnavailableError, ScoringError
from scorer.metrics import Metrics
from scorer.settings import HumanPoints
from scorer.workflows.keyed_lock import KeyedLock

T = TypeVar("T")
_CONTESTED = "Failed to save HashScorerLinks"


@dataclass(frozen=True, slots=True)
class Scorer:
    """The dependencies of a scoring, the same for every request."""

    database: Database
    verifier: CredentialVerifier
    metrics: Metrics
    clock: Callable[[], datetime]
    trusted_issuers: frozenset[str]
    human_points: HumanPoints
    scoring_events: bool = False
    address_locks: KeyedLock = field(default_factory=KeyedLock)

    async def score(self, community: Community, address: str, *, request_id: str) -> Score:
        """Score an address (lower case, valid) and store the result; a failure is stored as a score with status ERROR.

        Raises:
            ScorerUnavailableError: the community's scorer rows are broken; nothing was stored.
        """

        async def work(conn: Connection, contested: bool) -> Score:
            return await self.score_in(conn, community, address, contested=contested)

        return await self.transact(work, address=address, request_id=request_id)

    async def transact(self, work: Callable[[Connection, bool], Awaitable[T]], *, address: str, request_id: str) -> T:
        """Run work that scores `address`; its second argument is True in the last run, after every attempt lost the race for links."""
        async with self.address_locks.hold(address):
            try:
                return await self.database.transact(lambda conn: work(conn, False), request_id=request_id)
            except RacedError:
                return await self.database.transact(lambda conn: work(conn, True), request_id=request_id)

    async def score_in(self, conn: Connection, community: Community, address: str, *, contested: bool) -> Score:
        """Score inside an open transaction; see `score` and `transact`.

        Raises:
            ScorerUnavailableError: see `score`.
            RacedError: another address has taken a nullifier meanwhile.
        """
        if community.config is None:
            raise ScorerUnavailableError("the scorer has no row of its type")
        with self.metrics.stage("lock"):
            passport = await passports.lock(conn, address, community.id)
        run = _Run(self, conn, community, community.config, passport, address, self.clock())
        score = await (run.give_up(LinksContestedError(_CONTESTED)) if contested else run.run())
        self.metrics.scorings.labels(_outcome(score)).inc()
        return score


@dataclass(frozen=True, slots=True)
class _Run:
    """One scoring in progress."""

    scorer: Scorer
    conn: Connection
    community: Community
    config: ScorerConfig
    passport: Passport
    address: str
    now: datetime

    async def run(self) -> Score:
        metrics = self.scorer.metrics
        with metrics.stage("stamps"):
            rows, links = await stamps.load(self.conn, self.address, self.community.id)
        try:
            plan = await self._plan(rows, links)
        except ScoringError as error:
            return await self.give_up(error)
        self._count_dropped([DropCause.CLASH] * len(plan.clashing))
        with metrics.stage("links"):
            await self._write_links(plan)
        try:
            score = weigh(plan.kept, plan.clashing, self.config, now=self.now)
            await self._give_points(plan, score)
        except ScoringError as error:
            score = failed(error)
        await self._save(score, plan)
        return score

    async def give_up(self, error: ScoringError) -> Score:
        """Store the failure; the passport's stamps and links stay as they are."""
        score = failed(error)
        await self._save(score, None)
        return score

    async def _plan(self, rows: Sequence[StoredStamp], links: Sequence[HashLink]) -> DedupPlan:
        issuers = self.scorer.trusted_issuers
        examined, dropped = examine_all(rows, address=self.address, trusted_issuers=issuers, now=self.now)
        with self.scorer.metrics.stage("verify"):
            verdicts = await self.scorer.verifier.verify_all([stamp.text for stamp in examined])
        valid = [stamp for stamp, holds in zip(examined, verdicts, strict=True) if holds]
        self._count_dropped([*dropped, *[DropCause.PROOF] * (len(examined) - len(valid))])
        if self.community.rule != RULE_LIFO:
            raise ScoringError("Invalid rule")
        return plan_dedup(valid, links, address=self.address, now=self.now)

    async def _write_links(self, plan: DedupPlan) -> None:
        written = await hash_links.write(
            self.conn, self.community.id, plan.inserts, plan.updates, address=self.address, now=self.now
        )
        if not written:
            raise RacedError

    async def _give_points(self, plan: DedupPlan, score: Score) -> None:
        points = self.scorer.human_points
        started = self.now.timestamp() >= points.start_timestamp_s
        if not (points.write and started and self.community.human_points_program and score.passed):
            return
        with self.scorer.metrics.stage("points"):
            conditions = await awards.qualify(self.conn, self.address, self.community.id)
            due = awards_due(plan.kept, conditions, metamask=points.mta)
            await awards.write(self.conn, self.address, due, now=self.now)

    async def _save(self, score: Score, plan: DedupPlan | None) -> None:
        kept_ids = None if plan is None else [stamp.id for stamp in plan.kept]
        events = [dedup_event(stamp, community_id=self.community.id) for stamp in _clashing(plan)]
        with self.scorer.metrics.stage("save"):
            complete = await scores.save(
                self.conn,
                self.passport,
                scores.ScoringOutcome(score, kept_ids, events),
                address=self.address,
                community_id=self.community.id,
                now=self.now,
            )
        if not complete:
            raise RacedError
        if self.scorer.scoring_events and plan is not None:
            await scoring_events.write(self.conn, self.address, self.community.id, score, plan)

    def _count_dropped(self, causes: Sequence[DropCause]) -> None:
        for cause in causes:
            self.scorer.metrics.stamps_dropped.labels(cause).inc()


def _clashing(plan: DedupPlan | None) -> Sequence[Stamp]:
    return () if plan is None else plan.clashing


def _outcome(score: Score) -> str:
    if score.status != "DONE":
        return "error"
    return "passed" if score.passed else "not_passed"
