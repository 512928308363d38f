"""Show when each step of an exchange happened: as a list of events, and as bars in lanes on two scales. Pure.

client, proxy     |=======|                                  a request takes milliseconds
live database          |                      //
runner                                           |-| fence      |==| mismatch      |==| aligned, stored
legacy, shadow                                       |=======|       |=======| second run
shadow database                                         | |
                  0 ms     2 ms     4 ms      //  300 ms      400 ms      500 ms   its comparison happens later
"""

import datetime as dt
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from comparator.exchanges.comparison import Verdict, not_compared_text
from comparator.exchanges.model import Side
from comparator.store.rows import ComparisonRow
from comparator.store.timeline import CommitSpan, Timeline
from proxy.ui.words import plural

TICKS: Final = 4
"""Marks of an axis, about."""
LABEL_CHAR_SHARE: Final = 1.35
"""Width of a letter of a label in percent of a scale, at the width of a desktop's window."""
SCALE_WHOLE: Final = 100.0
MARGIN: Final = 0.3
"""Room behind the last step of a scale, as a share of it: for its label."""


class Lane(StrEnum):
    """The place where a step happens."""

    PROXY = "proxy"
    LIVE = "live"
    RUNNER = "runner"
    MIRRORED = "mirrored"
    SHADOW = "shadow"


@dataclass(frozen=True, slots=True)
class TimelineEvent:
    """One step.

    Attributes:
        at: its time.
        after_us: microseconds after the request was received.
        lane: where it happens.
        name: its name.
        text: what happened.
        took_us: microseconds since the step that it ends began, None for a moment.
    """

    at: dt.datetime
    after_us: int
    lane: Lane
    name: str
    text: str
    took_us: int | None = None


@dataclass(frozen=True, slots=True)
class LaneBar:
    """A span in a lane, in percent of its scale; a moment has the width 0.

    Attributes:
        label: text behind its end, or before its begin where `label_before`; with those of the bars before it that had no room for theirs.
    """

    x: float
    width: float
    tone: str
    label: str = ""
    label_before: bool = False


@dataclass(frozen=True, slots=True)
class Scale:
    """One of both scales: its lanes, its axis, and its caption."""

    lanes: tuple[tuple[Lane, tuple[LaneBar, ...]], ...]
    axis: tuple[tuple[float, str], ...]
    caption: str


@dataclass(frozen=True, slots=True)
class TimelineView:
    """All steps in their order, and both scales.

    Attributes:
        events: in the order of time.
        served: scale of the request, from 0.
        mirrored: scale of its comparison; None where that is not known.
        names: name of each lane.
        summary: one sentence.
        complete: False for a comparison that was stored without a timeline: by an earlier version, or of a replay.
    """

    events: tuple[TimelineEvent, ...]
    served: Scale
    mirrored: Scale | None
    names: tuple[tuple[Lane, str], ...]
    summary: str
    complete: bool


def timeline_view(row: ComparisonRow) -> TimelineView:
    """Show the steps of a stored comparison."""
    timeline = row.timeline
    side = Side(row.served_by)
    names = (
        (Lane.PROXY, "client ⇄ proxy"),
        (Lane.LIVE, "live database"),
        (Lane.RUNNER, "runner"),
        (Lane.MIRRORED, f"{side.other}, shadow"),
        (Lane.SHADOW, "shadow database"),
    )
    events = [replace(event, at=row.served_at + dt.timedelta(microseconds=event.after_us)) for event in _events(row)]
    events.sort(key=lambda event: event.after_us)
    served = _scale(_served_spans(row), 0, f"served: {_ms(row.served_us)}")
    if timeline is None:
        return TimelineView(tuple(events), served, None, names, f"served in {_ms(row.served_us)}", complete=False)
    start, end = timeline.delivered_us, _end_us(row, timeline)
    caption = f"mirrored and compared: {_ms(start)} to {_ms(end)} after"
    later = timeline.first.sent_us - row.served_us
    summary = f"served, then mirrored {_ms(max(0, later))} later; the client never waited for it"
    return TimelineView(
        tuple(events), served, _scale(_mirrored_spans(row, timeline), start, caption), names, summary, complete=True
    )


def _end_us(row: ComparisonRow, timeline: Timeline) -> int:
    stored = _after_us(row, row.stored_at) or 0
    # A verdict that waited for the store long would press everything else into a corner; the list says when it was stored.
    return max(timeline.aligned_us, stored if stored < 2 * timeline.aligned_us else 0)


def _after_us(row: ComparisonRow, at: dt.datetime | None) -> int | None:
    return None if at is None else (at - row.served_at) // dt.timedelta(microseconds=1)


_AT: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def _event(after_us: int, lane: Lane, name: str, text: str, took_us: int | None = None) -> TimelineEvent:
    return TimelineEvent(_AT, after_us, lane, name, text, took_us)


def _events(row: ComparisonRow) -> Iterator[TimelineEvent]:
    timeline = row.timeline
    writer = timeline.writer if timeline else ""
    yield _event(
        0,
        Lane.PROXY,
        f"received by {writer}" if writer else "received",
        f"route {row.route}, stage {row.stage or 'none'}",
    )
    status = row.served_status if row.served_status is not None else "no response"
    if timeline and timeline.first_byte_us:
        yield _event(timeline.first_byte_us, Lane.PROXY, "first byte", f"head of the response of {row.served_by}")
    yield _event(row.served_us, Lane.PROXY, "response sent", f"{status} by {row.served_by}", row.served_us)
    if timeline is None:
        if row.compared_at is not None:
            yield _event(_after_us(row, row.compared_at) or 0, Lane.RUNNER, "compared", verdict_text(row))
        return
    yield from _commits(timeline.served, Lane.LIVE, "served", "live", row.rows_served)
    yield _event(
        timeline.delivered_us, Lane.RUNNER, "live fence passed", "everything that the request committed is known"
    )
    yield from _mirrored_events(row, timeline)


def _mirrored_events(row: ComparisonRow, timeline: Timeline) -> Iterator[TimelineEvent]:
    first, second, side = timeline.first, timeline.second, Side(row.served_by).other
    status = row.mirrored_status if row.mirrored_status is not None else "no response"
    yield _event(first.sent_us, Lane.MIRRORED, "mirror sent", f"{side}, shadow instance")
    yield _event(
        first.answered_us, Lane.MIRRORED, "mirror response", f"{status} by {side}", first.answered_us - first.sent_us
    )
    yield from _commits(timeline.mirrored, Lane.SHADOW, "mirrored", "shadow", row.rows_mirrored)
    yield _event(first.compared_us, Lane.RUNNER, "compared", verdict_text(row), first.compared_us - first.collected_us)
    if second is not None:
        words = {
            True: "undone and run again: it differs again",
            False: "undone and run again: it does not differ again",
        }
        text = words.get(bool(row.confirmed)) if row.confirmed is not None else "undone and run again: it says nothing"
        yield _event(second.compared_us, Lane.MIRRORED, "second run", text or "", second.compared_us - second.sent_us)
    yield _event(timeline.aligned_us, Lane.RUNNER, "aligned", "the shadow holds live's rows again")
    stored = _after_us(row, row.stored_at)
    if stored is not None:
        yield _event(stored, Lane.RUNNER, "stored", "verdict committed")


def _commits(span: CommitSpan | None, lane: Lane, role: str, database: str, net: int) -> Iterator[TimelineEvent]:
    if span is None:
        return
    ids = str(span.first_xid) if span.transactions == 1 else f"{span.first_xid} to {span.last_xid}"
    noun = "transaction" if span.transactions == 1 else "transactions"
    count = "" if span.transactions == 1 else f"{span.transactions} "
    tagged = ", tagged with the request id" if span.named else ""
    text = f"{count}{database} {noun} {ids}: {plural(span.changes, 'row change')} ({net} net){tagged}"
    if span.transactions > 1:
        text += f", until +{_ms(span.last_us)}"
    yield _event(span.at_us[0], lane, f"commit{'s' * (span.transactions > 1)} {role}", text)


def verdict_text(row: ComparisonRow) -> str:
    """Say the verdict of a stored comparison, and what it does not rest on: `mismatch: response and rows, 9 places differ`."""
    gap = not_compared_text(rows_compared=row.effects_compared, left_out=row.left_out)
    text = _result_text(row)
    return f"{text}; {gap}" if gap and row.verdict != Verdict.FAILED else text


def _result_text(row: ComparisonRow) -> str:
    if row.verdict in {Verdict.MISMATCH, Verdict.TRANSIENT}:
        where = {"response": "response", "effects": "rows", "response_and_effects": "response and rows"}
        place = "place differs" if row.difference_count == 1 else "places differ"
        named = f"{where[row.cause]}, " if row.cause in where else ""
        return f"{row.verdict}: {named}{row.difference_count:,} {place}"
    return row.verdict if row.cause == "none" else f"{row.verdict}: {row.cause.replace('_', ' ')}"


# The chart.

_Span = tuple[Lane, int, int, str, str]


def _served_spans(row: ComparisonRow) -> Iterator[_Span]:
    yield Lane.PROXY, 0, row.served_us, "ink", _ms(row.served_us)
    if row.timeline and row.timeline.first_byte_us:
        yield Lane.PROXY, row.timeline.first_byte_us, row.timeline.first_byte_us, "notch", ""
    if row.timeline and row.timeline.served:
        yield from _ticks(row.timeline.served, Lane.LIVE)


def _mirrored_spans(row: ComparisonRow, timeline: Timeline) -> Iterator[_Span]:
    first, second = timeline.first, timeline.second
    tone = {Verdict.MISMATCH: "bad", Verdict.FAILED: "few", Verdict.TRANSIENT: "few", Verdict.KNOWN: "sup"}.get(
        Verdict(row.verdict), "good"
    )
    status = row.mirrored_status if row.mirrored_status is not None else "no response"
    yield Lane.RUNNER, timeline.delivered_us, first.sent_us, "grey", "fence"
    yield (
        Lane.MIRRORED,
        first.sent_us,
        first.answered_us,
        "grey",
        f"{status} in {_ms(first.answered_us - first.sent_us)}",
    )
    if timeline.mirrored:
        yield from _ticks(timeline.mirrored, Lane.SHADOW)
    yield Lane.RUNNER, first.collected_us, first.compared_us, tone, row.verdict
    if second is not None:
        same = "same" if row.confirmed else "not again" if row.confirmed is False else ""
        yield Lane.MIRRORED, second.sent_us, second.answered_us, "grey", f"second run{': ' + same if same else ''}"
        yield Lane.RUNNER, second.compared_us, _end_us(row, timeline), tone, "aligned, stored"
    else:
        yield Lane.RUNNER, first.compared_us, _end_us(row, timeline), tone, ""


def _ticks(span: CommitSpan, lane: Lane) -> Iterator[_Span]:
    for number, at in enumerate(span.at_us, 1):
        label = ""
        if number == len(span.at_us):
            commits = "commit" if span.transactions == 1 else f"{span.transactions} commits"
            label = f"{commits}, {plural(span.changes, 'row change')}"
        yield lane, at, at, "mark", label


def _scale(spans: Iterable[_Span], start_us: int, caption: str) -> Scale:
    listed = list(spans)
    begin = min([start_us, *(begins for _, begins, _, _, _ in listed)])
    last = max([begin + 1, *(ends for _, _, ends, _, _ in listed)])
    end = last + (last - begin) * MARGIN
    lanes: dict[Lane, list[LaneBar]] = {lane: [] for lane in Lane}
    for lane, begins, ends, tone, label in listed:
        lanes[lane].append(
            LaneBar(_share(begins, begin, end), _share(ends, begin, end) - _share(begins, begin, end), tone, label)
        )
    return Scale(
        tuple((lane, labelled(bars)) for lane, bars in lanes.items()),
        tuple((_share(at, begin, end), _ms(at, exact=False)) for at in axis(begin, int(end))),
        caption,
    )


def labelled(bars: Sequence[LaneBar]) -> tuple[LaneBar, ...]:
    """Return the bars of a lane, in the order of time, with labels that no other bar or label covers.

    A label stands behind its bar. Without room there it is put together with the next one: `200 in 102 ms, second run: same`.
    """
    ordered = sorted(bars, key=lambda bar: bar.x)
    placed: list[LaneBar] = []
    waiting: list[str] = []
    taken = 0.0
    for number, bar in enumerate(ordered, 1):
        following = ordered[number] if number < len(ordered) else None
        before, taken = taken, max(taken, bar.x + bar.width)
        text = ", ".join([*waiting, *([bar.label] if bar.label else [])])
        room = LABEL_CHAR_SHARE * (len(text) + 1)
        if text and following is not None and taken + room > following.x:
            waiting = [text]
            placed.append(replace(bar, label=""))
            continue
        waiting = []
        placed.append(replace(bar, label=text, label_before=taken + room > SCALE_WHOLE and before + room < bar.x))
        taken += room if text else 0.0
    return tuple(placed)


def _share(at: float, begin: float, end: float) -> float:
    return round(100 * (at - begin) / (end - begin), 2)


def axis(begin: int, end: int) -> Sequence[int]:
    """Return round values between two numbers, about TICKS of them: 0, 2000, 4000, 6000."""
    rough = max(1.0, (end - begin) / TICKS)
    magnitude = 10 ** math.floor(math.log10(rough))
    step = int(next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= rough))
    first = -(-begin // step) * step
    return range(first, end + 1, step)


def _ms(microseconds: int, *, exact: bool = True) -> str:
    """Write a duration: 5.73 ms, 284 ms, 12.3 s."""
    value = microseconds / 1000
    if abs(value) >= 10_000:
        return f"{value / 1000:,.1f} s"
    if not exact:
        return f"{value:,.3g} ms" if abs(value) < 1000 else f"{value:,.0f} ms"
    return f"{value:.2f} ms" if abs(value) < 100 else f"{value:,.0f} ms"


def offset(microseconds: int) -> str:
    """Write the time after the request with its sign: +5.73 ms, +284 ms."""
    return ("+" if microseconds >= 0 else "") + _ms(microseconds)
