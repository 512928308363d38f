"""A run beside an earlier one: causes and exchanges that are new, resolved, unchanged, or of which nothing can be said."""

from collections.abc import Mapping

import msgspec
import pytest

from proxy.replay.baseline import Change, compare_with_baseline, comparison_lines
from proxy.replay.errors import OptionError
from proxy.replay.report import CauseReport, ExchangeReport, ReplayFacts, ReplayReport, build_report
from proxy.replay.tally import Tally

FACTS = ReplayFacts("capture", "both", "2026-01-01T00:00:00+00:00", 2.0, True, "1x", 1, 10.0)


def cause(identity: str, exchanges: str, findings: str = "") -> CauseReport:
    places = tuple(findings.split() or [f"f-{identity}"])
    return CauseReport(identity, f"place {identity}", "high", len(exchanges), places, (), places, exchanges[:1])


def run(
    causes: Mapping[str, str],
    *,
    findings: Mapping[str, str] | None = None,
    without_cause: str = "",
    unjudged: str = "",
    total: int = 10,
    digest: str = "one recording",
    complete: bool = True,
    finished: bool = True,
) -> ReplayReport:
    """Return the report of a run; each exchange is named by one letter."""
    exchanges = ExchangeReport(
        total,
        digest,
        {name: tuple(ids) for name, ids in causes.items()},
        tuple(without_cause),
        tuple(unjudged),
        complete,
    )
    reports = tuple(cause(name, ids, (findings or {}).get(name, "")) for name, ids in causes.items())
    return build_report(Tally(), msgspec.structs.replace(FACTS, causes=reports, exchanges=exchanges, finished=finished))


@pytest.mark.parametrize(
    ("baseline", "later", "changes", "new", "resolved"),
    [
        (run({}), run({}), {}, "", ""),
        (run({"1": "ab"}), run({"1": "ab"}), {"1": Change.STILL_DIFFERS}, "", ""),
        (run({"1": "ab"}), run({}), {"1": Change.RESOLVED}, "", "ab"),
        (run({}), run({"1": "ab"}), {"1": Change.INTRODUCED}, "ab", ""),
        (run({"1": "ab"}), run({"1": "a"}), {"1": Change.STILL_DIFFERS}, "", "b"),
        (run({"1": "a"}), run({"1": "ab"}), {"1": Change.STILL_DIFFERS}, "b", ""),
        (run({"1": "ab"}), run({"1": "ab", "2": "b"}), {"1": Change.STILL_DIFFERS, "2": Change.INTRODUCED}, "b", ""),
        (run({"1": "ab", "2": "b"}), run({"1": "ab"}), {"1": Change.STILL_DIFFERS, "2": Change.RESOLVED}, "", ""),
        (run({"1": "ab"}), run({"2": "ab"}), {"1": Change.RESOLVED, "2": Change.INTRODUCED}, "ab", ""),
    ],
    ids=[
        "both equal",
        "the same",
        "mended",
        "broken",
        "in fewer exchanges",
        "in more exchanges",
        "one more cause",
        "one cause fewer",
        "another cause of the same exchanges",
    ],
)
def test_causes_and_exchanges_that_changed(
    baseline: ReplayReport, later: ReplayReport, changes: dict[str, Change], new: str, resolved: str
) -> None:
    result = compare_with_baseline(baseline, later)
    assert {one.cause.id: one.change for one in result.causes} == changes
    assert ("".join(result.new), "".join(result.resolved), result.unjudged) == (new, resolved, ())


def test_cause_with_another_name_is_the_same_when_findings_and_exchanges_are() -> None:
    result = compare_with_baseline(
        run({"1": "abc"}, findings={"1": "x y z"}), run({"2": "abcd"}, findings={"2": "x y z w"})
    )
    assert [(one.change, one.before, one.after) for one in result.causes] == [(Change.STILL_DIFFERS, 3, 4)]
    assert result.new == ("d",)


@pytest.mark.parametrize(
    ("ids", "findings"), [("abc", "v w"), ("fgh", "x y")], ids=["other findings", "other exchanges"]
)
def test_cause_that_shares_only_one_of_both_is_introduced(ids: str, findings: str) -> None:
    result = compare_with_baseline(run({"1": "abc"}, findings={"1": "x y"}), run({"2": ids}, findings={"2": findings}))
    assert result.count(Change.INTRODUCED) == result.count(Change.RESOLVED) == 1
    assert "".join(result.new) == ids


def test_places_of_an_introduced_cause_that_differed_before_are_counted() -> None:
    result = compare_with_baseline(
        run({"1": "ab"}, findings={"1": "x y"}), run({"1": "ab", "2": "ef"}, findings={"1": "x", "2": "x y"})
    )
    assert [one.shared_places for one in result.causes if one.change is Change.INTRODUCED] == [2]
    assert "2 of its places differed before" in "\n".join(comparison_lines(result, "run.json"))


@pytest.mark.parametrize(
    ("baseline", "later", "unjudged", "new"),
    [
        (run({}, unjudged="a"), run({}), "a", ""),
        (run({}), run({}, unjudged="a"), "a", ""),
        (run({"1": "a"}), run({}, unjudged="a"), "a", ""),
        (run({}, unjudged="a"), run({"1": "a"}), "", "a"),
        (run({}, without_cause="a"), run({}, without_cause="a"), "a", ""),
        (run({"1": "a"}), run({}, without_cause="a"), "a", ""),
        (run({}), run({}, without_cause="a"), "", "a"),
    ],
)
def test_exchange_of_which_nothing_can_be_said_is_named(
    baseline: ReplayReport, later: ReplayReport, unjudged: str, new: str
) -> None:
    result = compare_with_baseline(baseline, later)
    assert ("".join(result.unjudged), "".join(result.new), result.resolved) == (unjudged, new, ())


@pytest.mark.parametrize(
    ("later", "message"),
    [
        (run({}, digest="another"), "did not send the same exchanges"),
        (run({}, digest=""), "compared nothing"),
        (run({}, complete=False), "more differing exchanges than its report holds"),
        (run({}, finished=False), "was interrupted"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(later: ReplayReport, message: str) -> None:
    for pair in ((run({}), later), (later, run({}))):
        with pytest.raises(OptionError, match=message):
            compare_with_baseline(*pair)
