"""The judgement of an installation, problem by problem."""

from dataclasses import replace
from typing import Any

import pytest

from comparator.capture.settings import CaptureSettings, Driver
from comparator.exchanges.model import Side
from comparator.exchanges.number_ranges import NumberRanges
from comparator.exchanges.skip import Skip
from comparator.settings import CompareSettings
from comparator.tables import Table
from proxy.cli.diagnosis import (
    COMPARISONS_MIN,
    NOTHING_TO_DO,
    REMEDIES,
    DatabaseAnswer,
    ExchangeCounts,
    InstallationFacts,
    PreparationProblem,
    ProbedHealth,
    ProblemLevel,
    ProcessAnswer,
    diagnose,
    render,
)
from proxy.config.routes import RouteSettings
from proxy.config.runner import RunnerSettings
from proxy.config.settings import Settings
from proxy.journal.reconciliation import WriterAccount
from proxy.runner.skip_causes import RunnerSkip

TABLES = {"orders": Table(natural_key=("id",)), "loyalty": Table(natural_key=("customer",))}
SETTINGS = Settings(
    routes=(RouteSettings(name="orders", path="/orders"),),
    compare=CompareSettings(tables=TABLES),
    runner=RunnerSettings(tagged_sides=tuple(Side)),
)
PROXY = {
    "config": {"error": "", "needs_restart": []},
    "backends": {"legacy": {"healthy": True}},
    "journal": {"healthy": True},
}
RUNNER = {
    "ready": True,
    "untagged": [],
    "schema": {"differs": [], "not_captured": []},
    "shadow": {"resyncing": False, "resync_due": "", "needs_clone": False},
    "config": {"needs_restart": []},
    "use": {"comparisons": COMPARISONS_MIN, "rules": {"compare.rules[0]": 3}, "tables": {"orders": 5, "loyalty": 1}},
}
SOUND = InstallationFacts(
    settings=SETTINGS,
    databases=(
        DatabaseAnswer("live", clock_ms=0.2, clock_error_ms=0.3),
        DatabaseAnswer("shadow"),
        DatabaseAnswer("store"),
    ),
    proxies=(ProcessAnswer("proxy 1", PROXY),),
    runner=ProcessAnswer("runner", RUNNER),
    health=(ProbedHealth(Side.LEGACY, "/health", 200),),
    exchanges=ExchangeCounts(1000, {"overlapped": 9, "sample": 500}),
    rules=("compare.rules[0]",),
)


def runner(**members: Any) -> ProcessAnswer:
    return ProcessAnswer("runner", {**RUNNER, **members})


def proxy(**members: Any) -> tuple[ProcessAnswer, ...]:
    return (ProcessAnswer("proxy 1", {**PROXY, **members}),)


def skipped(**causes: int) -> ExchangeCounts:
    return ExchangeCounts(1000, causes)


def test_nothing_is_wrong_with_a_sound_installation() -> None:
    assert diagnose(SOUND) == []
    assert render([]) == "nothing is wrong"


WRONG, UNUSUAL = ProblemLevel.WRONG, ProblemLevel.UNUSUAL


@pytest.mark.parametrize(
    ("change", "severity", "place", "text"),
    [
        ({"warnings": ("instances get different Host headers",)}, UNUSUAL, "config.yaml", "Host headers"),
        ({"settings": Settings(routes=())}, WRONG, "routes", "there is none"),
        ({"databases": (DatabaseAnswer("shadow", "refused"),)}, WRONG, "shadow database", "does not answer: refused"),
        ({"databases": (DatabaseAnswer("live", problems=(PreparationProblem("wal_level", True, "is replica"),)),)}, WRONG, "live database, wal_level", "is replica"),
        ({"databases": (DatabaseAnswer("live", problems=(PreparationProblem("locks", False, "none"),)),)}, UNUSUAL, "live database, locks", "none"),
        ({"proxies": (ProcessAnswer("proxy 2", None, "timeout"),)}, WRONG, "proxy 2", "does not answer: timeout"),
        ({"runner": ProcessAnswer("runner", None, "refused")}, WRONG, "runner", "does not answer: refused"),
        ({"runner": runner(ready=False)}, UNUSUAL, "runner", "is not ready"),
        ({"lag_s": 120.0}, UNUSUAL, "runner", "120 s behind"),
        ({"proxies": proxy(config={"error": "bad field"})}, WRONG, "proxy 1", "refused the new config.yaml: bad field"),
        ({"proxies": proxy(config={"needs_restart": ["listen.port"]})}, UNUSUAL, "proxy 1", "only a restart applies listen.port"),
        ({"runner": runner(config={"needs_restart": ["capture.driver"]})}, UNUSUAL, "runner", "only a restart applies capture.driver"),
        ({"proxies": proxy(switch={"rolled_back": True, "actor": "ann", "reason": "slow"})}, UNUSUAL, "proxy 1", "rolled back by ann: slow"),
        ({"proxies": proxy(backends={"legacy": {"ejected": True}})}, WRONG, "legacy live", "is ejected"),
        ({"proxies": proxy(backends={"legacy": {"healthy": False, "checked": "/h"}})}, WRONG, "legacy live", "fails its health check: GET /h"),
        ({"proxies": proxy(journal={"healthy": False})}, WRONG, "proxy 1", "cannot write the journal"),
        ({"health": (ProbedHealth(Side.LEGACY, "/health", 301, "/health/"),)}, UNUSUAL, "backends.legacy.live.health_check.path", "redirects to /health/ (301)"),
        ({"health": (ProbedHealth(Side.LEGACY, "/health", 404),)}, WRONG, "backends.legacy.live.health_check.path", "GET /health: 404"),
        ({"health": (ProbedHealth(Side.CANDIDATE, "/", None, error="refused"),)}, WRONG, "backends.candidate.live.health_check.path", "refused"),
        ({"databases": (DatabaseAnswer("live", clock_ms=-80, clock_error_ms=1),)}, WRONG, "live database", "80.0 ms behind this machine's"),
        ({"databases": (DatabaseAnswer("shadow", clock_ms=80, clock_error_ms=1),)}, WRONG, "shadow database", "80.0 ms ahead of this machine's"),
        ({"runner": runner(untagged=["legacy"])}, WRONG, "legacy", "names no request"),
        ({"runner": runner(schema={"differs": [{"table": "orders", "since_s": 1, "reasons": ["a column"]}]})}, WRONG, "table orders", "is not compared: a column"),
        ({"runner": runner(schema={"not_captured": ["cache"]})}, UNUSUAL, "capture", "not compared: cache"),
        ({"runner": runner(shadow={"needs_clone": True})}, WRONG, "shadow database", "contradicts live"),
        ({"runner": runner(shadow={"resync_due": "drift"})}, UNUSUAL, "shadow database", "is being resynced: drift"),
        ({"exchanges": ExchangeCounts(1000, {}, {"queue_full": 3})}, UNUSUAL, "journal", "3 of 1000 exchanges were dropped: queue_full 3"),
        ({"exchanges": skipped(no_key=10)}, UNUSUAL, "skipped, no_key", "10 of 1000 exchanges (1.0%)"),
        ({"proxies": proxy(unrouted=[{"template": "GET /x/{}", "count": 7}])}, UNUSUAL, "unrouted, GET /x/{}", "7 requests match no route"),
        ({"rules": ("compare.rules[0]", "compare.rules[1]")}, UNUSUAL, "compare", "1 of 2 rules have not applied in 200 comparisons: compare.rules[1]"),
        ({"runner": runner(use={"comparisons": 200, "rules": RUNNER["use"]["rules"], "tables": {"orders": 1}})}, UNUSUAL, "compare.tables", "1 of 2 tables were not written in 200 comparisons: loyalty"),
    ],
)  # fmt: skip
def test_problem(change: dict[str, Any], severity: ProblemLevel, place: str, text: str) -> None:
    (problem,) = diagnose(replace(SOUND, **change))
    assert (problem.level, problem.place) == (severity, place)
    assert text in problem.text
    assert problem.remedy
    assert f"1. {severity.upper()}" in render([problem])


@pytest.mark.parametrize(
    "change",
    [
        {"databases": (DatabaseAnswer("live", clock_ms=80, clock_error_ms=79),)},
        {"databases": (DatabaseAnswer("store", clock_ms=800),)},
        {"exchanges": skipped(no_key=9)},
        {"exchanges": skipped(policy=900, unrouted=100)},
        {"exchanges": ExchangeCounts(0)},
        {"runner": runner(use={"comparisons": COMPARISONS_MIN - 1, "rules": {}, "tables": {}})},
        {"runner": runner(use=None, config=None, schema=None, shadow=None)},
        {"lag_s": 59.0},
    ],
)
def test_no_problem(change: dict[str, Any]) -> None:
    assert diagnose(replace(SOUND, **change)) == []


def test_exchanges_that_are_missing_are_wrong() -> None:
    none = NumberRanges(())
    lost = WriterAccount("w0", queued=0, unwritten=none, unread=0, in_flight=0, ended=3, missing=NumberRanges([(4, 5)]))
    (problem,) = diagnose(replace(SOUND, accounts=(lost,)))
    assert (problem.level, problem.place) == (WRONG, "accounting")
    assert "2 exchanges of writer w0" in problem.text


def test_overlap_of_untagged_sides_names_what_would_lower_it() -> None:
    settings = Settings(routes=SETTINGS.routes, runner=RunnerSettings(tagged_sides=(Side.CANDIDATE,)))
    tags, skips = diagnose(replace(SOUND, settings=settings, exchanges=skipped(overlapped=600)))
    assert (tags.place, "legacy" in tags.text) == ("runner.tagged_sides", True)
    assert "600 of 1000 exchanges (60.0%)" in skips.text
    assert "runner.clock_skew_ms is 5; measured now: at most 0.5 ms" in skips.remedy


def test_without_capture_no_table_and_no_tag_is_missed() -> None:
    off = Settings(routes=SETTINGS.routes, capture=CaptureSettings(driver=Driver.OFF), compare=SETTINGS.compare)
    use = {"comparisons": 1000, "rules": RUNNER["use"]["rules"], "tables": {}}
    assert diagnose(replace(SOUND, settings=off, runner=runner(use=use), exchanges=skipped(overlapped=0))) == []


def test_problems_are_in_the_order_to_mend_them() -> None:
    problems = diagnose(
        replace(
            SOUND,
            databases=(DatabaseAnswer("live", "refused"),),
            runner=runner(config={"needs_restart": ["runner.concurrency"]}, untagged=["legacy"]),
            proxies=proxy(unrouted=[{"template": "GET /b", "count": 1}, {"template": "GET /a", "count": 2}]),
            exchanges=skipped(slow=20, no_key=30),
        )
    )
    assert [problem.place for problem in problems] == [
        "live database",
        "runner",
        "legacy",
        "skipped, no_key",
        "skipped, slow",
        "unrouted, GET /a",
        "unrouted, GET /b",
    ]
    assert render(problems).endswith("2 wrong, 5 unusual")


def test_unrouted_requests_of_all_processes_are_added_up() -> None:
    one = proxy(unrouted=[{"template": "GET /a", "count": 2}])
    (problem,) = diagnose(replace(SOUND, proxies=(*one, *one)))
    assert "4 requests" in problem.text


def test_every_cause_of_a_skip_has_a_remedy_or_needs_none() -> None:
    causes = {*Skip, *RunnerSkip}
    assert {str(cause) for cause in causes} == {str(cause) for cause in (*REMEDIES, *NOTHING_TO_DO)}
    assert not set(REMEDIES) & set(NOTHING_TO_DO)
