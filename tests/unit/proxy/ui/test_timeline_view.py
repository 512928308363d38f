"""proxy.ui.timeline_view: steps in their order, and bars that lie inside of their scale."""

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest

from comparator.exchanges.comparison import Verdict
from comparator.exchanges.model import LeftOutReason
from comparator.store.comparison_detail import ComparisonDetail
from comparator.store.rows import ComparisonRow
from comparator.store.timeline import CommitSpan, MirrorSteps, Timeline
from proxy.ui.timeline_view import LaneBar, TimelineView, axis, labelled, offset, timeline_view
from tests.support.comparisons import NOW

TIMELINE = Timeline(
    "proxy-1",
    "",
    5_410,
    284_000,
    MirrorSteps(290_000, 353_000, 356_000, 376_000),
    MirrorSteps(420_000, 480_000, 485_000, 496_000),
    535_000,
    CommitSpan((5_090,), 5_090, 16559, 16559, 1, 8, True),
    CommitSpan((315_000, 318_000, 342_000), 342_000, 16589, 16598, 3, 10, False),
)
ROW = ComparisonRow(
    served_at=NOW,
    exchange_id="c38cdd933f1d5c99",
    route="v2_score",
    served_by="candidate",
    stage="candidate_25",
    verdict="mismatch",
    cause="response_and_effects",
    confirmed=True,
    effects_compared=True,
    effects_note="",
    served_status=200,
    mirrored_status=200,
    served_us=5_730,
    mirrored_us=62_900,
    rows_served=7,
    rows_mirrored=7,
    difference_count=9,
    left_out={},
    detail=ComparisonDetail(),
    compared_at=NOW + dt.timedelta(milliseconds=538),
    stored_at=NOW + dt.timedelta(milliseconds=541),
    timeline=TIMELINE,
)


def lines(view: TimelineView) -> list[str]:
    return [f"{offset(event.after_us)} {event.name}: {event.text}" for event in view.events]


def test_all_steps_stand_in_their_order() -> None:
    assert lines(timeline_view(ROW)) == [
        "+0.00 ms received by proxy-1: route v2_score, stage candidate_25",
        "+5.09 ms commit served: live transaction 16559: 8 row changes (7 net), tagged with the request id",
        "+5.41 ms first byte: head of the response of candidate",
        "+5.73 ms response sent: 200 by candidate",
        "+284 ms live fence passed: everything that the request committed is known",
        "+290 ms mirror sent: legacy, shadow instance",
        "+315 ms commits mirrored: 3 shadow transactions 16589 to 16598: 10 row changes (7 net), until +342 ms",
        "+353 ms mirror response: 200 by legacy",
        "+376 ms compared: mismatch: response and rows, 9 places differ",
        "+496 ms second run: undone and run again: it differs again",
        "+535 ms aligned: the shadow holds live's rows again",
        "+541 ms stored: verdict committed",
    ]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"left_out": {"audit": LeftOutReason.SHARED}}, "match; table audit left out"),
        ({"effects_compared": False}, "match; rows not compared"),
        ({"effects_compared": False, "verdict": "failed", "cause": "mirrored_timeout"}, "failed: mirrored timeout"),
    ],
)
def test_verdict_says_what_it_does_not_rest_on(changes: dict[str, Any], text: str) -> None:
    row = replace(replace(ROW, verdict="match", cause="none"), **changes)
    assert f"+376 ms compared: {text}" in lines(timeline_view(row))


def test_times_are_those_of_the_request_and_its_offsets() -> None:
    events = timeline_view(ROW).events
    assert all(event.at == NOW + dt.timedelta(microseconds=event.after_us) for event in events)
    assert {event.name: event.took_us for event in events if event.took_us} == {
        "response sent": 5_730,
        "mirror response": 63_000,
        "compared": 20_000,
        "second run": 76_000,
    }


def test_bars_lie_inside_of_their_scale() -> None:
    view = timeline_view(replace(ROW, timeline=replace_commit(-2_000)))
    assert view.mirrored is not None
    for scale in (view.served, view.mirrored):
        bars = [bar for _, bars in scale.lanes for bar in bars]
        assert bars
        assert all(0 <= bar.x <= 100 and 0 <= bar.width <= 100 - bar.x for bar in bars)
        assert all(0 <= x <= 100 for x, _ in scale.axis)


def replace_commit(at_us: int) -> Timeline:
    """Return the timeline with a commit that the database's clock places before the request."""
    return Timeline(
        TIMELINE.writer, "", 0, 284_000, TIMELINE.first, None, 535_000, CommitSpan((at_us,), at_us, 1, 1, 1, 1, True)
    )


def test_comparison_without_a_timeline_shows_what_is_known() -> None:
    view = timeline_view(replace(ROW, timeline=None, stored_at=None))
    assert [event.name for event in view.events] == ["received", "response sent", "compared"]
    assert (view.mirrored, view.complete) == (None, False)


@pytest.mark.parametrize("verdict", list(Verdict))
def test_every_verdict_has_a_timeline(verdict: Verdict) -> None:
    row = replace(ROW, verdict=verdict.value, cause="none", served_status=None, mirrored_status=None)
    assert any(event.text.startswith(verdict.value) for event in timeline_view(row).events)


@pytest.mark.parametrize(
    ("begin", "end", "marks"),
    [
        (0, 6_000, [0, 2_000, 4_000, 6_000]),
        (284_000, 600_000, [300_000, 400_000, 500_000, 600_000]),
        (0, 1, [0, 1]),
        (5, 5, [5]),
    ],
)
def test_axis_has_round_marks(begin: int, end: int, marks: list[int]) -> None:
    assert list(axis(begin, end)) == marks


def placed(*bars: LaneBar) -> list[tuple[str, bool]]:
    return [(bar.label, bar.label_before) for bar in labelled(bars)]


def test_label_without_room_before_the_next_bar_is_put_together_with_its_label() -> None:
    first, second = LaneBar(0, 8, "grey", "200 in 102 ms"), LaneBar(15, 15, "grey", "second run: same")
    assert placed(first, second) == [("", False), ("200 in 102 ms, second run: same", False)]
    assert placed(second, first) == placed(first, second)
    assert placed(first, replace(second, x=60)) == [("200 in 102 ms", False), ("second run: same", False)]


def test_label_stands_before_a_bar_at_the_end_of_the_scale_where_nothing_else_is() -> None:
    last = LaneBar(90, 0, "mark", "14 commits")
    assert placed(last) == [("14 commits", True)]
    assert placed(LaneBar(0, 88, "ink"), last) == [("", False), ("14 commits", False)]
