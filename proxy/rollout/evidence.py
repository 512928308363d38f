"""The evidence of a rollout step: counts, durations and findings since the step was entered, the input of the gates. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from comparator.stats.confidence import VerdictCounts
from proxy.rollout.latency_blocks import LatencyBlock


@dataclass(frozen=True, slots=True)
class Hits:
    """Comparisons with one property, e.g. mismatches.

    Attributes:
        count: number of comparisons.
        keys: number of different ordering keys among them.
        design_effect: number of them that weighs as much as one independent comparison (comparator.stats.confidence.design_effect).
    """

    count: int = 0
    keys: int = 0
    design_effect: float = 1.0

    def __add__(self, other: "Hits") -> "Hits":
        return Hits(self.count + other.count, self.keys + other.keys, max(self.design_effect, other.design_effect))


NO_HITS = Hits()


@dataclass(frozen=True, slots=True)
class RouteEvidence:
    """The evidence of one route, or of several together, in one window of time.

    A pair that one side alone failed (a 5xx or no response) is judged by the error rates only, so it is no mismatch here. Mismatches
    that lie only in rows of `low_confidence` tables are apart as well.

    Attributes:
        counts: comparisons by verdict.
        judged: comparisons in which both sides answered or both failed.
        mismatches: of those, the ones that differ.
        low_confidence: of those, the ones that differ in rows of `low_confidence` tables only.
        response_only_mismatches: of the mismatches, those of which the responses alone were compared.
        effects_compared: comparisons in which rows were compared.
        partial: comparisons whose rows are equal, but for those of tables that were left out.
        effects: of those in `effects_compared`, the ones that differ in rows of other tables.
        points: of those, the ones that differ in rows of `gates.points_tables`.
        pairs: requests that both sides received.
        candidate_only_errors: of the pairs, those that failed on the candidate alone, in the first run.
        legacy_only_errors: of the pairs, those that failed on the legacy alone.
        candidate_mirrored: comparisons in which the candidate was the mirrored side.
        candidate_transient: of those, the ones whose difference was gone when the candidate ran again.
        legacy_mirrored: comparisons in which the legacy was the mirrored side.
        legacy_transient: of those, the ones whose difference was gone when the legacy ran again.
        overlapped: exchanges that were not compared because another request of the same key ran at the same time.
        excluded: exchanges that were not compared because the configuration says so: policies and rate limits.
        lost: exchanges that were not compared for any other reason: failed, overload, and so on.
        dropped: exchanges that a proxy served and dropped before they were in the journal.
    """

    counts: VerdictCounts = field(default_factory=VerdictCounts)
    judged: int = 0
    mismatches: Hits = NO_HITS
    low_confidence: Hits = NO_HITS
    response_only_mismatches: Hits = NO_HITS
    effects_compared: int = 0
    partial: int = 0
    effects: Hits = NO_HITS
    points: Hits = NO_HITS
    pairs: int = 0
    candidate_only_errors: Hits = NO_HITS
    legacy_only_errors: Hits = NO_HITS
    candidate_mirrored: int = 0
    candidate_transient: Hits = NO_HITS
    legacy_mirrored: int = 0
    legacy_transient: Hits = NO_HITS
    overlapped: int = 0
    excluded: int = 0
    lost: int = 0
    dropped: int = 0

    @property
    def called(self) -> int:
        """Exchanges of which something is known, compared or not."""
        return self.counts.compared + self.overlapped + self.excluded + self.unseen

    @property
    def unseen(self) -> int:
        """Exchanges that should have been compared and were not."""
        return self.lost + self.dropped

    def __add__(self, other: "RouteEvidence") -> "RouteEvidence":
        # Spelled out, as this runs for every route of every window.
        return RouteEvidence(
            self.counts + other.counts,
            self.judged + other.judged,
            self.mismatches + other.mismatches,
            self.low_confidence + other.low_confidence,
            self.response_only_mismatches + other.response_only_mismatches,
            self.effects_compared + other.effects_compared,
            self.partial + other.partial,
            self.effects + other.effects,
            self.points + other.points,
            self.pairs + other.pairs,
            self.candidate_only_errors + other.candidate_only_errors,
            self.legacy_only_errors + other.legacy_only_errors,
            self.candidate_mirrored + other.candidate_mirrored,
            self.candidate_transient + other.candidate_transient,
            self.legacy_mirrored + other.legacy_mirrored,
            self.legacy_transient + other.legacy_transient,
            self.overlapped + other.overlapped,
            self.excluded + other.excluded,
            self.lost + other.lost,
            self.dropped + other.dropped,
        )


@dataclass(frozen=True)
class WindowEvidence:
    """The evidence of one window of time.

    Attributes:
        routes: by route, for each mirrored route of the group; a route without comparisons has zeros.
        hits_overall: the hits of all routes together by the name of their field, where a key on two routes is one key; a field that
            is missing is the sum over the routes.
    """

    routes: Mapping[str, RouteEvidence] = field(default_factory=dict[str, RouteEvidence])
    hits_overall: Mapping[str, Hits] = field(default_factory=dict[str, Hits])

    @cached_property
    def overall(self) -> RouteEvidence:
        """The evidence of all routes together."""
        return replace(sum(self.routes.values(), RouteEvidence()), **self.hits_overall)


@dataclass(frozen=True, slots=True)
class RecentWindow:
    """A window of fresh evidence: its kind (a member of proxy.rollout.alpha_spending.RECENT_S), its begin as Unix time, and the evidence."""

    length_s: int
    begin_s: float
    evidence: WindowEvidence


@dataclass(frozen=True, slots=True)
class SuspectFinding:
    """A finding that was seen at this step; an automatic rollback names the one that it is about, and its cause.

    Attributes:
        cause: id of the largest cause that shows it; "" while it has none, or none that is more than provisional.
        cause_title: the most telling place of that cause, and what differs there.
    """

    id: str
    route: str
    place: str
    kind: str
    shape: str
    count: int
    cause: str = ""
    cause_title: str = ""

    def __str__(self) -> str:
        finding = f"finding {self.id} ({self.route} {self.place}: {self.kind}, {self.shape}; {self.count} times)"
        return f"cause {self.cause} ({self.cause_title}), {finding}" if self.cause else finding


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


@dataclass(frozen=True)
class Evidence:
    """The evidence of one group since its step was entered.

    Attributes:
        seconds: time at this step.
        step: the whole step.
        recent: windows of fresh evidence, the shortest first; those that began before the step are missing.
        quiet_routes: routes that may stay without calls.
        captures_rows: row changes are captured, so that the shadow is kept equal to live.
        rows_routes: routes whose rows are to be compared: they are captured, and the route has an ordering key; None for all.
        blocks: latency of this step, oldest first.
        quantile_us: the judged quantile of the durations at this step in microseconds, by `side_role`.
        measures_memory: `sources.candidates` names pages to read the memory from.
        rss_bytes: the largest resident memory of a candidate process; None when it was not measured.
        dropped: exchanges that the proxies served and dropped at this step, on these routes or on unknown ones; None when it was not
            measured.
        accounting: the accounting of all processes; None when it was not measured.
        suspects: findings seen at this step, new ones first, then the most frequent.
        unavailable: the sources that did not answer, each with the reason.
    """

    seconds: float = 0.0
    step: WindowEvidence = field(default_factory=WindowEvidence)
    recent: tuple[RecentWindow, ...] = ()
    quiet_routes: frozenset[str] = frozenset()
    captures_rows: bool = True
    rows_routes: frozenset[str] | None = None
    blocks: tuple[LatencyBlock, ...] = ()
    quantile_us: Mapping[str, float] = field(default_factory=dict[str, float])
    measures_memory: bool = False
    rss_bytes: int | None = None
    dropped: int | None = None
    accounting: AccountingTotals | None = None
    suspects: tuple[SuspectFinding, ...] = ()
    unavailable: tuple[str, ...] = ()

    @property
    def routes(self) -> Mapping[str, RouteEvidence]:
        """The evidence of the whole step by route."""
        return self.step.routes

    @property
    def overall(self) -> RouteEvidence:
        """The evidence of the whole step, all routes together."""
        return self.step.overall

    def windows(self) -> Iterable[tuple[int | None, float, WindowEvidence]]:
        """Yield length, begin and evidence of every window; None and minus infinity for the whole step, which is first."""
        yield None, float("-inf"), self.step
        for window in self.recent:
            yield window.length_s, window.begin_s, window.evidence

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
            "judged_mismatches": overall.mismatches.count,
            "mismatch_keys": overall.mismatches.keys,
            "mismatch_design_effect": round(overall.mismatches.design_effect, 2),
            "low_confidence_mismatches": overall.low_confidence.count,
            "response_only_mismatches": overall.response_only_mismatches.count,
            "effects_compared": overall.effects_compared,
            "partial": overall.partial,
            "effect_mismatches": overall.effects.count,
            "points_mismatches": overall.points.count,
            "candidate_only_errors": overall.candidate_only_errors.count,
            "legacy_only_errors": overall.legacy_only_errors.count,
            "candidate_transient": overall.candidate_transient.count,
            "legacy_transient": overall.legacy_transient.count,
            "overlapped": overall.overlapped,
            "excluded": overall.excluded,
            "lost": overall.lost,
            "dropped": self.dropped,
            "latency_blocks": len(self.blocks),
            "quantile_us": {name: round(value) for name, value in self.quantile_us.items()},
            "rss_bytes": self.rss_bytes,
            "accounting_gap": self.accounting.gap if self.accounting else None,
            "causes": list(dict.fromkeys(suspect.cause for suspect in self.suspects if suspect.cause))[:10],
            "findings": [suspect.id for suspect in self.suspects[:10]],
            "unavailable": list(self.unavailable),
        }
