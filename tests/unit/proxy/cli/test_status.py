"""What `shadow status` says about who serves, and about what is wrong."""

from typing import Any

from proxy.cli.status import Status, render


def said(**proxy: Any) -> list[str]:
    status = Status({"stage": "candidate_100", **proxy}, None, None, {})
    return [line for line in render(status).splitlines() if not line.startswith("stage")]


def test_an_ejected_and_an_unhealthy_side_are_named() -> None:
    backends = {
        "candidate": {"ejected": True, "healthy": False},
        "legacy": {"ejected": False, "healthy": False, "checked": "/heatlh"},
    }
    lines = said(backends=backends)
    assert "EJECTED   the candidate fails clients' requests and is spared" in lines
    assert "unhealthy the legacy's health check fails: GET /heatlh" in lines


def test_sides_that_are_well_or_not_checked_are_not_mentioned() -> None:
    backends = {"candidate": {"ejected": False, "healthy": True}, "legacy": {"ejected": False, "healthy": None}}
    assert said(backends=backends) == said()


def test_a_refused_file_and_what_needs_a_restart_are_named() -> None:
    lines = said(config={"error": "nonsense - at `$.listen`", "needs_restart": ["$.admin.port", "$.listen.workers"]})
    assert "config    the new file was refused: nonsense - at `$.listen`" in lines
    assert "config    only a restart changes $.admin.port, $.listen.workers" in lines
