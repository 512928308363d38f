"""Decide what the tile of each gate says: its figure with the denominator, its interval on a bar, and one line below. Pure.

mismatches  fail           12.35 %  42 of 340       6.5 % to 20.5 %, allowed at most 0.10 %
comparisons not enough     340      of 1,000        enough in 1 min 24 s at 7.9/s
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from proxy.config.rollout import RolloutSettings
from proxy.ui.charts import IntervalBar, interval_bar
from proxy.ui.words import duration, number, percent, rough_duration

TONES: Final = {"bad": "bad", "not_enough_evidence": "few", "good": "good"}
WORDS: Final = {"bad": "fail", "not_enough_evidence": "not enough", "good": "pass"}
ORDER: Final = ("bad", "not_enough_evidence", "good")
HISTORY_TOPS: Final = {"bad": 1.0, "not_enough_evidence": 5.0, "good": 9.0}
"""Top of an evaluation's bar by its outcome: low is good, high is bad."""
HISTORY_SHOWN: Final = 6
TITLES: Final = {"latency": "latency", "low_confidence": "low confidence", "slow_spells": "slow spells"}


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One of the last evaluations of a gate, oldest first."""

    tone: str
    word: str
    y: float


@dataclass(frozen=True, slots=True)
class GateTile:
    """The tile of one gate.

    Attributes:
        value: the figure, in large.
        of: its denominator, in small.
        note: interval and limit, or the time until it is enough, or the reason.
        reason: the whole reason, in words.
        bar: None where nothing is measured.
    """

    name: str
    title: str
    outcome: str
    tone: str
    word: str
    value: str
    of: str
    note: str
    reason: str
    bar: IntervalBar | None
    history: tuple[Evaluation, ...] = ()


def tiles_of(gates: Mapping[str, Any], settings: RolloutSettings) -> tuple[GateTile, ...]:
    """Return the tiles of an assessment, as GET /rollout has it: those that fail first.

    Args:
        gates: its members `gates`, `figures`, `streaks` and `history`; empty before the first evaluation.
        settings: section `rollout:`.
    """
    figures = cast("Mapping[str, Any]", gates.get("figures") or {})
    history = cast("Mapping[str, Sequence[str]]", gates.get("history") or {})
    streaks = cast("Mapping[str, int]", gates.get("streaks") or {})
    tiles = [
        _tile(gate, figures, history.get(gate["gate"], ()), streaks.get(gate["gate"], 0), settings)
        for gate in cast("Sequence[Mapping[str, Any]]", gates.get("gates") or ())
    ]
    return tuple(sorted(tiles, key=lambda tile: ORDER.index(tile.outcome)))


def outcomes_of(tiles: Sequence[GateTile]) -> tuple[tuple[str, str], ...]:
    """Return how many gates have each outcome, as tone and text."""
    counts = [(outcome, sum(tile.outcome == outcome for tile in tiles)) for outcome in ORDER]
    return tuple((TONES[outcome], f"{count} {WORDS[outcome]}") for outcome, count in counts if count)


def blocked_by(tiles: Sequence[GateTile]) -> str:
    """Return why a promotion would be refused; "" if all gates pass, or before the first evaluation."""
    failing = [tile.title for tile in tiles if tile.outcome == "bad"]
    waiting = [tile.title for tile in tiles if tile.outcome == "not_enough_evidence"]
    texts = [f"{' and '.join(failing)} {'fails' if len(failing) == 1 else 'fail'}"] if failing else []
    texts += [f"{', '.join(waiting)}: not enough evidence"] if waiting else []
    return "; ".join(texts)


def _tile(
    gate: Mapping[str, Any],
    figures: Mapping[str, Any],
    history: Sequence[str],
    streak: int,
    settings: RolloutSettings,
) -> GateTile:
    name, outcome, reason = str(gate["gate"]), str(gate["outcome"]), str(gate["reason"])
    measure = cast("Mapping[str, Any] | None", gate.get("measure"))
    value, of, note, bar = _measured(name, measure, reason, figures)
    if outcome == "not_enough_evidence" and measure is not None:
        until = _until_narrow(measure, float(figures.get("seconds") or 0.0))
        note += f"; {until}" if until else ""
    if outcome == "bad" and streak and settings.auto_rollback.enabled:
        needed = settings.auto_rollback.consecutive_evaluations
        note += f"; failed {streak} {'time' if streak == 1 else 'times in a row'}, rollback at {needed}"
    return GateTile(
        name,
        TITLES.get(name, name),
        outcome,
        TONES[outcome],
        WORDS[outcome],
        value,
        of,
        note,
        reason,
        bar,
        tuple(Evaluation(TONES[one], WORDS[one], HISTORY_TOPS[one]) for one in history[-HISTORY_SHOWN:]),
    )


def _measured(
    name: str, measure: Mapping[str, Any] | None, reason: str, figures: Mapping[str, Any]
) -> tuple[str, str, str, IntervalBar | None]:
    """Return the figure, its denominator, the line below and the bar."""
    if measure is None:
        return "no data", "", reason, None
    unit, value, limit = str(measure["unit"]), float(measure["value"]), measure.get("limit")
    low, high = measure.get("low"), measure.get("high")
    of = f"{number(measure['hits'])} of {number(measure['trials'])}" if measure.get("trials") is not None else ""
    write, at = _WRITERS[unit], _ENDS.get(unit, _WRITERS[unit])
    if measure.get("at_least"):
        bar = interval_bar(0.0, value, estimate=None, limit=float(limit or 0))
        # (the routes that are covered do not grow at a rate)
        more = round(float(limit or 0) - value) - 1
        note = (
            _first_problem(reason, more)
            if name == "coverage"
            else _until_enough(unit, value, float(limit or 0), figures)
        )
        return write(value), f"of {write(float(limit or 0))}", note, bar
    allowed = f"allowed at most {write(float(limit))}" if limit is not None else ""
    if low is None or high is None:
        return write(value), of, allowed, interval_bar(0.0, value, estimate=None, limit=limit)
    if math.isinf(float(high)):
        return write(value), of, f"{at(float(low))} or more; {allowed}", None
    least = min(0.0, float(low))
    bar = interval_bar(float(low), float(high), estimate=value, limit=limit, least=least)
    return write(value), of, f"{at(float(low))} to {at(float(high))}; {allowed}", bar


def _first_problem(reason: str, more: int) -> str:
    """Return the first of the problems that a reason lists, and how many routes have another one."""
    return f"{reason.partition('; ')[0]}, and {more} more {'route' if more == 1 else 'routes'}" if more > 0 else reason


def _until_enough(unit: str, value: float, needed: float, figures: Mapping[str, Any]) -> str:
    """Return when there will be enough at the present rate."""
    if value >= needed:
        return "enough"
    if unit == "seconds":
        return f"enough in {duration(needed - value)}"
    seconds = float(figures.get("seconds") or 0.0)
    rate = value / seconds if seconds else 0.0
    return f"enough in {duration((needed - value) / rate)} at {rate:.1f}/s" if rate else "nothing comes in"


def _until_narrow(measure: Mapping[str, Any], seconds: float) -> str:
    """Return when the interval of an estimate will lie within its limit, should the estimate stay; "" where that cannot be told.

    The width of an interval shrinks with the root of the evidence, and that of a share of which nothing was seen with the evidence itself:

        0.20 %, up to 0.90 %, allowed 0.50 %, after 60 s     (0.70 / 0.30)² of 60 s     enough in about 4 min
    """
    value, limit, high = float(measure["value"]), measure.get("limit"), measure.get("high")
    if limit is None or high is None or math.isinf(float(high)) or not seconds or measure.get("at_least"):
        return ""
    room, width = float(limit) - value, float(high) - value
    if str(measure["unit"]) == "ratio":
        if min(value, float(limit), float(high)) <= 0:
            return ""
        room, width = math.log(float(limit) / value), math.log(float(high) / value)
    if room <= 0:
        return "above what is allowed so far"
    needed = seconds * (width / room) ** (2 if value else 1)
    return f"enough in about {rough_duration(needed - seconds)}" if needed > seconds else ""


def _ratio(value: float) -> str:
    return f"{value:.2f}\u00d7"


def _bytes(value: float) -> str:
    return f"{value / 1024**2:.0f} MiB"


def _share(value: float) -> str:
    """Write a share with two decimals, or with as many as a small one needs."""
    return percent(value) if abs(value) >= 0.0001 or not value else f"{value * 100:.2g} %"


def _end(value: float) -> str:
    return percent(value, 1)


_ENDS: Final = {"share": _end}
"""Writes the end of an interval, where that has fewer decimals."""
_WRITERS: Final = {"count": number, "share": _share, "seconds": duration, "ratio": _ratio, "bytes": _bytes}
"""Writes a figure, by its unit."""
