"""Propose rules from an A/A run: one side compared with itself, where every difference is noise. Pure.

A proposal has its evidence (how often, between which values). A person decides and writes the rule into the configuration; nothing is
learned silently. The coverage says what the proposals rest on: of each route and method how many requests succeeded and were judged, and
why others were not. A request that failed alike in both runs (a PATCH with 412) has shown nothing, and is never counted as equal.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Context, Decimal
from typing import Final, NamedTuple

from comparator.exchanges.comparison import Comparison, Verdict
from comparator.exchanges.difference import Difference, Kind
from comparator.exchanges.json_values import shortened, value_text
from comparator.exchanges.model import EffectsOutcome
from comparator.findings.clustering import Clusterer
from comparator.rules.actions import PER_SECOND, EpochUnit, GeneratedText, moment_of, number_of, unix_us
from comparator.rules.run_times import Microseconds, RunTimes


class RouteMethod(NamedTuple):
    """A route, "" for requests that match none, and a method."""

    route: str
    method: str


@dataclass(frozen=True, slots=True)
class RunPair:
    """Two runs of one request on one side, from one state.

    Attributes:
        at: route and method.
        statuses: status codes of both runs; 0 for a run without a response.
        served_status: status code that the client got; 0 for none.
        comparison: of the two; None if the row changes of a run were lost or are not surely its own.
        runs: when both worked on the request, None if that is unknown.
        two_processes: the runs were of two processes.
    """

    at: RouteMethod
    statuses: tuple[int, int]
    served_status: int
    comparison: Comparison | None
    runs: RunTimes | None = None
    two_processes: bool = False

    @property
    def not_judged(self) -> str:
        """The reason for which the pair says nothing about the route; "" if it does."""
        first, second = self.statuses
        comparison = self.comparison
        if comparison is None:
            return "rows were lost, or another's"
        if comparison.verdict is Verdict.FAILED:
            return f"failed: {comparison.cause_label}"
        if first != self.served_status:
            return f"{first} where the client got {self.served_status}: not the state that it started from"
        if first == second and first // 100 != _SUCCESS:
            return f"{first} in both runs"
        if comparison.verdict in _EQUAL and not comparison.is_complete and not _by_response(comparison):
            return "equal as far as they were compared, but not all rows were"
        return ""


@dataclass(frozen=True, slots=True)
class RouteCoverage:
    """The pairs of one route and method, and what they amount to.

    Attributes:
        traffic: exchanges of the period.
        pairs: requests that were run.
        succeeded: pairs with 2xx in both runs.
        equal: judged pairs that were equal under the rules, rows included.
        different: judged pairs that differed.
        responses_only: judged pairs with equal responses that have no rows to compare: no key, or no capture.
        not_judged: numbers of exchanges by the reason for which they say nothing.
    """

    at: RouteMethod
    traffic: int
    pairs: int
    succeeded: int
    equal: int
    different: int
    responses_only: int
    not_judged: Mapping[str, int]

    @property
    def covered(self) -> bool:
        """True if a request that succeeded was judged."""
        return bool(self.succeeded) and bool(self.equal + self.different + self.responses_only)


@dataclass(frozen=True, slots=True)
class Calibration:
    """Result of a calibration.

    Attributes:
        routes: by route and method, the most frequent first.
        proposals: rules under which the pairs that differed are equal.
        two_processes: pairs whose runs were of two processes.
        pairs: all pairs.
    """

    routes: tuple[RouteCoverage, ...]
    proposals: "tuple[Proposal, ...]"
    two_processes: int
    pairs: int

    @property
    def different(self) -> int:
        """Number of judged pairs that differed."""
        return sum(route.different for route in self.routes)

    @property
    def covered_share(self) -> float:
        """Share of the traffic on routes and methods of which a request that succeeded was judged."""
        traffic = sum(route.traffic for route in self.routes)
        return sum(route.traffic for route in self.routes if route.covered) / traffic if traffic else 0.0


_SUCCESS: Final = 2
_EQUAL: Final = frozenset({Verdict.MATCH, Verdict.KNOWN})


def _by_response(comparison: Comparison) -> bool:
    """Return whether no rows were to be compared: the route has no key, or row changes are not captured."""
    outcomes = set(comparison.effects_outcomes or ()) - {EffectsOutcome.ATTRIBUTED}
    return outcomes == {EffectsOutcome.OFF} and not comparison.left_out


EXAMPLES_MAX: Final = 3
EXAMPLE_CHARS: Final = 80
_EXACT: Final = Context(prec=400)
TOLERANCE_MIN_MS: Final = 1_000
"""Least tolerance of times that is proposed: two quick runs of a calibration show less than a mirror under load."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A rule that would allow the noise at one place.

    Attributes:
        route: name of the route.
        place: template of the place.
        section: section of the configuration in which the rule belongs.
        rule: the rule as YAML in one line; "" if no rule should allow the difference.
        seen: number of comparisons with this noise.
        compared: number of comparisons of the route.
        examples: pairs of values, `served / mirrored`.
        why: explanation of the rule.
    """

    route: str
    place: str
    section: str
    rule: str
    seen: int
    compared: int
    examples: tuple[str, ...]
    why: str


@dataclass(slots=True)
class _Noise:
    """The differences at one place."""

    route: str
    sample: Difference
    seen: int = 0
    pairs: list[tuple[object, object]] = field(default_factory=list[tuple[object, object]])
    runs: list[RunTimes | None] = field(default_factory=list[RunTimes | None])
    kinds: set[Kind] = field(default_factory=set[Kind])


PAIRS_MAX: Final = 10_000
"""Pairs of values that are evaluated for one place."""


def calibration_of(
    pairs: Sequence[RunPair],
    clusterer: Clusterer,
    *,
    traffic: Mapping[RouteMethod, int],
    left_out: Mapping[tuple[RouteMethod, str], int],
    seen_min: int,
) -> Calibration:
    """Sum pairs up, and propose rules for what differed at least `seen_min` times in one place.

    Args:
        pairs: the pairs of runs.
        clusterer: makes templates of places: member names that are data become `*`.
        traffic: exchanges of the period.
        left_out: exchanges that were not run, by the cause.
        seen_min: pairs in which a place must differ; one alone shows no pattern.
    """
    by_route: dict[RouteMethod, list[RunPair]] = {at: [] for at in traffic}
    for pair in pairs:
        by_route.setdefault(pair.at, []).append(pair)
    routes = [
        _coverage(
            at,
            here,
            max(traffic.get(at, 0), len(here)),
            {cause: n for (one, cause), n in left_out.items() if one == at},
        )
        for at, here in by_route.items()
    ]
    return Calibration(
        routes=tuple(sorted(routes, key=lambda route: (-route.traffic, route.at))),
        proposals=propose(pairs, clusterer, seen_min=seen_min),
        two_processes=sum(pair.two_processes for pair in pairs),
        pairs=len(pairs),
    )


def _coverage(at: RouteMethod, pairs: Sequence[RunPair], traffic: int, left_out: Mapping[str, int]) -> RouteCoverage:
    judged = [pair.comparison for pair in pairs if pair.comparison is not None and not pair.not_judged]
    same = [comparison for comparison in judged if comparison.verdict in _EQUAL]
    equal = sum(comparison.is_complete for comparison in same)
    reasons = Counter(pair.not_judged for pair in pairs if pair.not_judged)
    return RouteCoverage(
        at=at,
        traffic=traffic,
        pairs=len(pairs),
        succeeded=sum(all(status // 100 == _SUCCESS for status in pair.statuses) for pair in pairs),
        equal=equal,
        different=len(judged) - len(same),
        responses_only=len(same) - equal,
        not_judged={**left_out, **reasons},
    )


def propose(pairs: Iterable[RunPair], clusterer: Clusterer, *, seen_min: int = 2) -> "tuple[Proposal, ...]":
    """Propose rules, for the most frequent noise first.

    Args:
        pairs: two runs of one side each.
        clusterer: makes templates of places: member names that are data become `*`.
        seen_min: number of pairs in which a place must differ; one alone shows no pattern.
    """
    noise: dict[tuple[str, str], _Noise] = {}
    totals: dict[str, int] = {}
    for pair in pairs:
        if pair.comparison is None or pair.statuses[0] != pair.served_status:
            continue
        route = pair.at.route
        totals[route] = totals.get(route, 0) + 1
        places: set[tuple[str, str]] = set()
        for difference in pair.comparison.differences:
            key = (route, clusterer.template(difference))
            at_place = noise.setdefault(key, _Noise(route, difference))
            at_place.kinds.add(difference.kind)
            if len(at_place.pairs) < PAIRS_MAX:
                at_place.pairs.append((difference.served, difference.mirrored))
                at_place.runs.append(pair.runs)
            places.add(key)
        for key in places:
            noise[key].seen += 1
    proposals = [_proposal(place, at_place, totals[at_place.route]) for (_, place), at_place in noise.items()]
    return tuple(sorted((p for p in proposals if p.seen >= seen_min), key=lambda p: (-p.seen, p.route, p.place)))


def _proposal(place: str, noise: _Noise, compared: int) -> Proposal:
    rule, why = _rule(noise)
    section, text = _written(place, noise, rule)
    return Proposal(
        route=noise.route,
        place=place,
        section=section,
        rule=text,
        seen=noise.seen,
        compared=compared,
        examples=tuple(_example(pair) for pair in noise.pairs[:EXAMPLES_MAX]),
        why=why,
    )


def _example(pair: tuple[object, object]) -> str:
    return " / ".join(shortened(value_text(value), EXAMPLE_CHARS) or "nothing" for value in pair)


_NO_RULE: Final = "no rule should allow this unseen, look at the examples"
_ROWS: Final = f"{_NO_RULE}; if their natural key contains a generated id, declare another natural_key, or the column as `generated` in `volatile`"


def _rule(noise: _Noise) -> tuple[dict[str, str], str]:
    """Choose the narrowest action that allows every pair of values; return it with an explanation."""
    kinds = ", ".join(sorted(noise.kinds))
    if noise.kinds == {Kind.ORDER}:
        return {"unordered": "true"}, "the same elements in another order"
    if noise.kinds <= {Kind.MISSING_ROW, Kind.EXTRA_ROW}:
        return {}, f"{kinds}: {_ROWS}"
    if not noise.kinds <= {Kind.CHANGED, Kind.TYPE, Kind.COLUMN}:
        return {}, f"{kinds}: {_NO_RULE}"
    for choose in (_for_times, _for_epochs, _for_row_ids, _for_numbers, _for_generated):
        if rule := choose(noise):
            return rule
    return {"ignore": "true"}, "values without a pattern"


def _for_times(noise: _Noise) -> tuple[dict[str, str], str] | None:
    apart_us: list[Microseconds] = []
    for (left, right), runs in zip(noise.pairs, noise.runs, strict=True):
        a, b = moment_of(left), moment_of(right)
        if a is None or b is None:
            return None
        apart_us.append(_apart_us(unix_us(a), unix_us(b), runs))
    if all(moment_of(left) == moment_of(right) for left, right in noise.pairs):
        return {"same": "time"}, "one instant in two notations"
    widest_us = max(apart_us)
    return {"time_within_ms": str(_tolerance_ms(widest_us))}, f"times up to {widest_us / _US_PER_SECOND:.3f} s apart"


def _apart_us(a: Microseconds, b: Microseconds, runs: RunTimes | None) -> Microseconds:
    """Return how far two times are apart, with or without the time between the beginnings of the runs, whichever is less.

    That the runs took long explains more, but later runs may be faster, and the tolerance has to hold for them as well.
    """
    return abs(b - a) if runs is None else min(abs(b - a), abs(b - a - runs.lag_us))


def _tolerance_ms(widest_us: Microseconds) -> int:
    # Twice the widest distance, because the sample does not contain the slowest case.
    return max(TOLERANCE_MIN_MS, math.ceil(2 * widest_us / 1_000))


_EPOCH_MIN_S: Final = 946_684_800
"""2000-01-01: numbers that are earlier times than this in every unit are not taken for times."""
_EPOCH_MAX_S: Final = 4_102_444_800
"""2100-01-01."""
_US_PER_SECOND: Final = 1_000_000
_APART_MAX_S: Final = 86_400
"""Two runs of one request write times that are less apart than this; numbers that are more apart are no times of the runs."""


def _for_epochs(noise: _Noise) -> tuple[dict[str, str], str] | None:
    """Recognise numbers, and texts of numbers, that count the time since 1970."""
    numbers = [(number_of(a), number_of(b)) for a, b in noise.pairs]
    if any((type(a) is str and type(b) is not str) or (type(b) is str and type(a) is not str) for a, b in noise.pairs):
        return None
    for unit, per_second in PER_SECOND.items():
        apart_us: list[Microseconds] = []
        for (a, b), runs in zip(numbers, noise.runs, strict=True):
            if a is None or b is None or not all(_EPOCH_MIN_S <= n / per_second <= _EPOCH_MAX_S for n in (a, b)):
                break
            apart_us.append(_apart_us(a * _US_PER_SECOND / per_second, b * _US_PER_SECOND / per_second, runs))
        if len(apart_us) == len(numbers) and max(apart_us) < _APART_MAX_S * _US_PER_SECOND:
            return _epoch_rule(unit, max(apart_us))
    return None


def _epoch_rule(unit: EpochUnit, widest_us: Microseconds) -> tuple[dict[str, str], str]:
    rule = {"time_within_ms": str(_tolerance_ms(widest_us)), "epoch": unit.value}
    return rule, f"times in {unit.value} since 1970, up to {widest_us / _US_PER_SECOND:.3f} s apart"


_ID_NAME: Final = re.compile(r"id|pk|.*_id|.*[a-z0-9]Id", re.ASCII)
_ID_JUMP: Final = 2**31
"""Ids of the shadow's sequences are moved apart from those of live by more than this."""


def _for_row_ids(noise: _Noise) -> tuple[dict[str, str], str] | None:
    """Recognise integers that a database generated: by the name of the place, or because sequences of the shadow are far ahead."""
    numbers = [(number_of(a), number_of(b)) for a, b in noise.pairs]
    if any(a is None or b is None or a % 1 or b % 1 for a, b in numbers):
        return None
    named = bool(noise.sample.path) and _ID_NAME.fullmatch(str(noise.sample.path[-1])) is not None
    in_column = not noise.sample.path and _ID_NAME.fullmatch(noise.sample.column) is not None
    if not named and not in_column and not all(abs((a or 0) - (b or 0)) > _ID_JUMP for a, b in numbers):
        return None
    return {"ignore": "true"}, (
        "ids that each database generates; where one names a row of another table, declare it in `references` instead: it is then compared "
        "by that row's natural key"
    )


def _for_numbers(noise: _Noise) -> tuple[dict[str, str], str] | None:
    apart: list[Decimal] = []
    for a, b in ((number_of(a), number_of(b)) for a, b in noise.pairs):
        if a is None or b is None:
            return None
        apart.append(abs(_EXACT.subtract(a, b)))
    widest = max(apart)
    if not widest:
        return {"same": "number"}, "one number in two notations"
    rounded = widest.normalize(Context(prec=2, rounding=ROUND_CEILING))
    return {"absolute": f'"{rounded:f}"'}, f"numbers up to {widest} apart"


_GENERATED: Final = {
    "UUIDs": "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}",
    "tokens of three parts": "[A-Za-z0-9_-]{8,}\\.[A-Za-z0-9_-]{8,}\\.[A-Za-z0-9_-]{8,}",
    "hexadecimal ids": "[0-9a-f]{16,}",
    "ULIDs": "[0-9A-HJKMNP-TV-Z]{26}",
    "ids": "[A-Za-z0-9_-]{16,}",
}
"""Patterns of generated ids, the narrowest first."""


def _for_generated(noise: _Noise) -> tuple[dict[str, str], str] | None:
    """Recognise texts that are equal outside of the parts that a run generates."""
    for name, pattern in _GENERATED.items():
        generated = GeneratedText(re.compile(pattern))
        if all(generated.allows(a, b) for a, b in noise.pairs):
            return {"generated": f"'{pattern}'"}, f"{name} that each run generates"
    return None


def _written(place: str, noise: _Noise, rule: dict[str, str]) -> tuple[str, str]:
    """Return the section in which a rule belongs, and its YAML."""
    sample = noise.sample
    if not sample.table:
        section = f"compare.routes.{noise.route}.rules"
        if not rule or sample.kind in {Kind.STATUS, Kind.HEADER}:
            return section, ""
        members = {"path": _quoted(place), **rule}
        return section, "- {" + ", ".join(f"{name}: {value}" for name, value in members.items()) + "}"
    if not sample.column or not rule:
        return f"compare.tables.{sample.table}", ""
    return _written_for_column(place, sample, rule)


def _written_for_column(place: str, sample: Difference, rule: dict[str, str]) -> tuple[str, str]:
    within_ms, epoch, generated = rule.get("time_within_ms"), rule.get("epoch"), rule.get("generated")
    inside = place.removeprefix(f"{sample.table}.{sample.column}").removeprefix(".")
    if not inside:
        section = f"compare.tables.{sample.table}.volatile"
        tolerance = f"within_ms: {within_ms}" + (f", epoch: {epoch}" if epoch else "") if within_ms else "ignore: true"
        return section, f"{sample.column}: {{{f'generated: {generated}' if generated else tolerance}}}"
    section, at = f"compare.tables.{sample.table}.json.{sample.column}", _quoted(inside)
    if within_ms:
        return section, f"within_ms: {{{at}: {within_ms}}}" + (f", epoch: {{{at}: {epoch}}}" if epoch else "")
    if generated:
        return section, f"generated: {{{at}: {generated}}}"
    return section, f"unordered: [{at}]" if "unordered" in rule else f"ignore: [{at}]"


def _quoted(path: str) -> str:
    return f"'{path}'" if any(character in path for character in '*[]{}"#: ,') else path


def render_proposals(proposals: Sequence[Proposal]) -> str:
    """Write the proposals as text, to read and to copy from."""
    if not proposals:
        return "nothing to propose: no place differed often enough"
    lines: list[str] = []
    for proposal in proposals:
        lines.append(
            f"{proposal.route}  {proposal.place}  in {proposal.seen} of {proposal.compared} "
            f"({proposal.seen / proposal.compared:.1%}): {proposal.why}"
        )
        lines += [f"    e.g. {example}" for example in proposal.examples]
        lines.append(f"    {proposal.section}: {proposal.rule}" if proposal.rule else "    no rule proposed")
    lines.append("a rule hides real defects too: accept one only where you know why the side differs from itself")
    return "\n".join(lines)


def render_calibration(result: Calibration, side: str) -> str:
    """Write a calibration as text: what was seen of each route and method, the proposals, and the share of traffic that is covered."""
    lines = [f"{side} against itself: {result.pairs} requests run twice", _ROW.format(*_HEAD)]
    for route in result.routes:
        counts = (route.traffic, route.pairs, route.succeeded, route.equal, route.different)
        lines.append(_ROW.format(route.at.route or "(none)", route.at.method, *counts))
        lines += [f"    {count} not judged: {reason}" for reason, count in route.not_judged.items()]
        if route.responses_only:
            lines.append(f"    {route.responses_only} equal by response: they have no key, or rows are not captured")
    return "\n".join([*lines, "", render_proposals(result.proposals), "", *_unseen(result), _covered(result)])


_HEAD: Final = ("route", "method", "traffic", "run", "2xx", "equal", "different")
_ROW: Final = "{:<24} {:<7} {:>8} {:>6} {:>6} {:>6} {:>9}"


def _unseen(result: Calibration) -> list[str]:
    alone = result.pairs - result.two_processes
    if not alone:
        return []
    return [
        f"unseen in {alone} of {result.pairs} pairs: what differs between processes (orders, caches, seeds), because both runs were of one",
        "process; calibrate while this side serves, or give --second-url",
    ]


def _covered(result: Calibration) -> str:
    open_routes = [f"{route.at.route or '(none)'} {route.at.method}" for route in result.routes if not route.covered]
    rest = f"; without a judged 2xx: {', '.join(open_routes)}" if open_routes else ""
    return f"covered: {result.covered_share:.1%} of the traffic{rest}"
