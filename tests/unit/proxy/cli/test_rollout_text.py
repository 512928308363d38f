"""The rollout's lines of `shadow status`."""

from typing import Any

from proxy.cli.rollout_text import render

GROUP: dict[str, Any] = {
    "group": "all",
    "phase": "stepping",
    "step": 1,
    "percent": 5.0,
    "steps": [0.0, 5.0, 100.0],
    "actor": "ann",
    "reason": "all is well",
    "at": "2026-01-01T00:00:00Z",
    "gates": {
        "at": "2026-01-01T00:01:00Z",
        "outcome": "not_enough_evidence",
        "gates": [
            {"gate": "time", "outcome": "not_enough_evidence", "reason": "60 s at this step, wanted at least 1800 s"},
            {"gate": "errors", "outcome": "good", "reason": "none"},
        ],
    },
}


def test_group_shows_its_last_change_and_the_gates_that_are_not_good() -> None:
    assert render({"enabled": True, "groups": [GROUP], "pending": 2}) == [
        "rollout   all: stepping, step 1 of 2 (5 % of 0, 5, 100)",
        "  last change by ann at 2026-01-01T00:00:00Z: all is well",
        "  gates not_enough_evidence, judged at 2026-01-01T00:01:00Z",
        "    time: 60 s at this step, wanted at least 1800 s",
        "  2 entries of the audit log wait for the database",
    ]


def test_disabled_rollout_has_no_lines() -> None:
    assert render({"enabled": False, "groups": [{**GROUP, "phase": "shadowing"}]}) == []


def test_rollback_is_shown_for_a_disabled_rollout() -> None:
    (line, *_) = render({"enabled": False, "groups": [{**GROUP, "phase": "rolled_back"}]})
    assert line.startswith("rollout   all: rolled_back")
