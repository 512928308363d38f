"""The lines of `shadow status` about the backends and the configuration."""

from typing import Any

from proxy.cli.status import Status, render


def lines_of(**proxy: Any) -> list[str]:
    status = Status({"stage": "candidate_100", **proxy}, None, None, {})
    return [line for line in render(status).splitlines() if not line.startswith("stage")]


def test_ejected_and_an_unhealthy_side_are_named() -> None:
    backends = {
        "candidate": {"ejected": True, "healthy": False},
        "legacy": {"ejected": False, "healthy": False, "checked": "/heatlh"},
    }
    lines = lines_of(backends=backends)
    assert "EJECTED   the candidate fails clients' requests" in lines
    assert "unhealthy the legacy's health check fails: GET /heatlh" in lines


def test_healthy_and_unchecked_sides_are_not_mentioned() -> None:
    backends = {"candidate": {"ejected": False, "healthy": True}, "legacy": {"ejected": False, "healthy": None}}
    assert lines_of(backends=backends) == lines_of()


def test_refused_file_and_settings_that_need_a_restart_are_named() -> None:
    lines = lines_of(config={"error": "listen: nonsense", "needs_restart": ["admin.port", "listen.workers"]})
    assert "config    the new file was refused: listen: nonsense" in lines
    assert "config    only a restart applies admin.port, listen.workers" in lines


def test_tables_that_are_not_compared_are_named_with_the_reasons() -> None:
    differing = {"table": "score", "since_s": 0, "reasons": ["score.n is integer in live and missing in the shadow"]}
    schema = {"differs": [differing], "not_captured": ["session", "task"]}
    lines = render(Status({"stage": "s"}, None, None, {}, schema=schema)).splitlines()
    assert (
        "schema    score is not compared since 1970-01-01 00:00:00Z: score.n is integer in live and missing in the shadow"
        in lines
    )
    assert "schema    not captured, so rows are not compared: session, task" in lines


def test_side_that_names_no_request_is_said() -> None:
    lines = render(Status({"stage": "s"}, None, None, {}, schema={"untagged": ["candidate (mirrored)"]})).splitlines()
    assert any(line.startswith("UNTAGGED  the candidate (mirrored) names no request") for line in lines)
