"""The evidence of a rollout step: counts, durations and findings since the step was entered, the input of the gates. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from comparator.exchanges.model import Role, Side
from comparator.stats.confidence import VerdictCounts
from comparator.stats.quantile_sketch import QuantileSketch


@dataclass(frozen=True, slots=True)
class RouteEvidence:
    """The evidence of one route.

    Attributes:
        counts: comparisons by verdict.
        pairs: requests that both sides received.
        candidate_only_errors: of the pairs, those that failed on the candidate alone: a status of 500 or more, or no response.
        legacy_only_errors: of the pairs, those that failed on the legacy alone.
    """

    counts: VerdictCounts = field(default_factory=VerdictCounts)
    pairs: int = 0
    candidate_only_errors: int = 0
    legacy_only_errors: int = 0

    def __add__(self, other: "RouteEvidence") -> "RouteEvidence":
        return RouteEvidence(
            self.counts + other.counts,
            self.pairs + other.pairs,
            self.candidate_only_errors + other.candidate_only_errors,
            self.legacy_only_errors + other.legacy_only_errors,
        )


@dataclass(frozen=True, slots=True)
class SuspectFinding:
    """A finding that was seen at this step; an automatic rollback names the one that it is about."""

    id: str
    route: str
    place: str
    kind: str
    shape: str
    count: int

    def __str__(self) -> str:
        return f"finding {self.id} ({self.route} {self.place}: {self.kind}, {self.shape}; {self.count} times)"


@dataclass(frozen=True, slots=True)
class AccountingTotals:
    """The accounting of all processes: every served exchange is accounted for, or in flight."""

    served: int
    accounted: int
    in_flight: int

    @property
    def gap(self) -> int:
        """Exchanges that are in no count; negative for exchanges counted twice."""
        return self.served - self.accounted - self.in_flight


NO_SKETCHES: Final[Mapping[tuple[Side, Role], QuantileSketch]] = {}


@dataclass(frozen=True, slots=True)
class Evidence:
    """The evidence of one group since its step was entered.

    Attributes:
        seconds: time at this step.
        routes: evidence by route, for each mirrored route of the group; a route without comparisons has zeros.
        effect_mismatches: comparisons whose committed rows differ.
        points_mismatches: of those, the ones that differ in the tables of `gates.points_tables`.
        effects_compared: comparisons in which rows were compared at all.
        durations: sketches of durations in microseconds, by side and role.
        rss_bytes: the largest resident memory of a candidate process; None when it was not measured.
        completed: exchanges that got an outcome, without those skipped by policy; None when it was not measured.
        compared: of those, the ones that were compared.
        accounting: the accounting of all processes; None when it was not measured.
        suspects: findings seen at this step, new ones first, then the most frequent.
        unavailable: the sources that did not answer, each with the reason.
    """

    seconds: float = 0.0
    routes: Mapping[str, RouteEvidence] = field(default_factory=dict[str, RouteEvidence])
    effect_mismatches: int = 0
    points_mismatches: int = 0
    effects_compared: int = 0
    durations: Mapping[tuple[Side, Role], QuantileSketch] = field(default_factory=lambda: NO_SKETCHES)
    rss_bytes: int | None = None
    completed: int | None = None
    compared: int = 0
    accounting: AccountingTotals | None = None
    suspects: tuple[SuspectFinding, ...] = ()
    unavailable: tuple[str, ...] = ()

    @property
    def overall(self) -> RouteEvidence:
        """The evidence of all routes together."""
        return sum(self.routes.values(), RouteEvidence())

    def snapshot(self) -> dict[str, object]:
        """Return the figures that the audit log keeps with a decision, as JSON values."""
        overall = self.overall
        return {
            "seconds": round(self.seconds, 1),
            "compared": overall.counts.compared,
            "mismatches": overall.counts.mismatch,
            "known": overall.counts.known,
            "transient": overall.counts.transient,
            "failed": overall.counts.failed,
            "effects_compared": self.effects_compared,
            "effect_mismatches": self.effect_mismatches,
            "points_mismatches": self.points_mismatches,
            "candidate_only_errors": overall.candidate_only_errors,
            "legacy_only_errors": overall.legacy_only_errors,
            "p95_us": {
                f"{side}_{role}": round(sketch.quantile(0.95))
                for (side, role), sketch in self.durations.items()
                if sketch.count
            },
            "rss_bytes": self.rss_bytes,
            "accounting_gap": self.accounting.gap if self.accounting else None,
            "findings": [suspect.id for suspect in self.suspects[:10]],
            "unavailable": list(self.unavailable),
        }
