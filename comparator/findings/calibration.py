"""Propose rules from an A/A run: one side compared with itself, where every difference is noise. Pure.

A proposal has its evidence (how often, between which values). A person decides and writes the rule into the configuration; nothing is
learned silently.
"""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Context, Decimal
from typing import Final

from comparator.exchanges.difference import Difference, Kind
from comparator.exchanges.json_values import shortened, value_text
from comparator.findings.clustering import Clusterer
from comparator.rules.actions import moment_of, number_of
from comparator.verdict import Comparison

EXAMPLES_MAX: Final = 3
EXAMPLE_CHARS: Final = 80
_EXACT: Final = Context(prec=400)


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
    kinds: set[Kind] = field(default_factory=set[Kind])


PAIRS_MAX: Final = 10_000
"""Pairs of values that are evaluated for one place."""


def propose(
    compared: Iterable[tuple[str, Comparison]], clusterer: Clusterer, *, seen_min: int = 2
) -> tuple[Proposal, ...]:
    """Propose rules, for the most frequent noise first.

    Args:
        compared: pairs of route and comparison of one side with itself.
        clusterer: makes templates of places: member names that are data become `*`.
        seen_min: number of comparisons in which a place must differ; one alone shows no pattern.
    """
    noise: dict[tuple[str, str], _Noise] = {}
    totals: dict[str, int] = {}
    for route, comparison in compared:
        totals[route] = totals.get(route, 0) + 1
        places: set[tuple[str, str]] = set()
        for difference in comparison.differences:
            key = (route, clusterer.template(difference))
            at_place = noise.setdefault(key, _Noise(route, difference))
            at_place.kinds.add(difference.kind)
            if len(at_place.pairs) < PAIRS_MAX:
                at_place.pairs.append((difference.served, difference.mirrored))
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


def _rule(noise: _Noise) -> tuple[dict[str, str], str]:
    """Choose the narrowest action that allows every pair of values; return it with an explanation."""
    if noise.kinds == {Kind.ORDER}:
        return {"unordered": "true"}, "the same elements in another order"
    if not noise.kinds <= {Kind.CHANGED, Kind.TYPE, Kind.COLUMN}:
        return {}, f"{', '.join(sorted(noise.kinds))}: no rule should allow this unseen, look at the examples"
    return _for_times(noise.pairs) or _for_numbers(noise.pairs) or ({"ignore": "true"}, "values without a pattern")


def _for_times(pairs: Sequence[tuple[object, object]]) -> tuple[dict[str, str], str] | None:
    apart: list[dt.timedelta] = []
    for a, b in ((moment_of(a), moment_of(b)) for a, b in pairs):
        if a is None or b is None:
            return None
        apart.append(abs(a - b))
    widest = max(apart)
    if not widest:
        return {"same": "time"}, "one instant in two notations"
    # Twice the widest distance, because the sample does not contain the slowest case.
    within_ms = -(-2 * widest // dt.timedelta(milliseconds=1))
    return {"time_within_ms": str(within_ms)}, f"times up to {widest.total_seconds():.3f} s apart"


def _for_numbers(pairs: Sequence[tuple[object, object]]) -> tuple[dict[str, str], str] | None:
    apart: list[Decimal] = []
    for a, b in ((number_of(a), number_of(b)) for a, b in pairs):
        if a is None or b is None:
            return None
        apart.append(abs(_EXACT.subtract(a, b)))
    widest = max(apart)
    if not widest:
        return {"same": "number"}, "one number in two notations"
    rounded = widest.normalize(Context(prec=2, rounding=ROUND_CEILING))
    return {"absolute": f'"{rounded:f}"'}, f"numbers up to {widest} apart"


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
    within_ms = rule.get("time_within_ms")
    inside = place.removeprefix(f"{sample.table}.{sample.column}").removeprefix(".")
    if not inside:
        section = f"compare.tables.{sample.table}.volatile"
        return section, f"{sample.column}: {{" + (f"within_ms: {within_ms}" if within_ms else "ignore: true") + "}"
    section = f"compare.tables.{sample.table}.json.{sample.column}"
    if within_ms:
        return section, f"within_ms: {{{_quoted(inside)}: {within_ms}}}"
    return section, f"ignore: [{_quoted(inside)}]"


def _quoted(path: str) -> str:
    return f"'{path}'" if any(character in path for character in '*[]{}"#: ,') else path


def render_proposals(proposals: Sequence[Proposal]) -> str:
    """Write the proposals as text, to read and to copy from."""
    if not proposals:
        return "no noise: nothing to propose"
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
