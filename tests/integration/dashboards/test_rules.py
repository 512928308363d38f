"""The generated rules as Prometheus itself reads and evaluates them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
import yaml

from dashboards.alerts import GROUPS
from dashboards.files import generated
from tests.integration.dashboards.alert_cases import CASES, OWN_YESTERDAY, Case, Series
from tests.support.paths import ROOT
from tests.support.promtool import program, promtool

DASHBOARDS = ROOT / "dashboards"
RULES = ("recording.rules.yml", "alerts.rules.yml")


def evaluated(case: Case, series: Sequence[Series], *, minute: int, firing: bool) -> Mapping[str, object]:
    """One course of the metrics, and whether the alert fires at a minute of it, as promtool reads it."""
    question = f'count(ALERTS{{alertname="{case.alert}",alertstate="firing"}}) > bool 0 or vector(0)'
    expected = {"expr": question, "eval_time": f"{minute}m", "exp_samples": [{"labels": "{}", "value": int(firing)}]}
    return {
        "interval": "1m",
        "input_series": [{"series": one.text, "values": one.values} for one in series],
        "promql_expr_test": [expected],
    }


def courses(directory: Path, cases: Sequence[Case], *, every: str) -> Path:
    """A test file of promtool for these cases; the rules are evaluated so often."""
    fires = [evaluated(case, case.fires, minute=case.minute, firing=True) for case in cases]
    quiet = [evaluated(case, case.quiet, minute=case.minute, firing=False) for case in cases]
    file = {
        "rule_files": [str(DASHBOARDS / "generated" / name) for name in RULES],
        "evaluation_interval": every,
        "group_eval_order": ["shadow-recording", *GROUPS],
        "tests": [*fires, *quiet],
    }
    path = directory / "courses.yml"
    path.write_text(yaml.safe_dump(file))
    return path


def test_each_alert_fires_on_its_cause_and_on_nothing_like_it(tmp_path: Path) -> None:
    """All in one run of promtool, whose message names the alert and the minute."""
    done = promtool("test", "rules", courses(tmp_path, CASES, every="1m"))

    assert done.returncode == 0, done.stdout + done.stderr


def test_without_the_legacy_the_candidate_is_held_to_its_own_yesterday(tmp_path: Path) -> None:
    done = promtool("test", "rules", courses(tmp_path, [OWN_YESTERDAY], every="30m"))

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_case() -> None:
    assert {case.alert for case in CASES} == {alert.name for alerts in GROUPS.values() for alert in alerts}


@pytest.mark.parametrize("name", RULES)
def test_prometheus_takes_the_rules(name: str) -> None:
    done = promtool("check", "rules", DASHBOARDS / "generated" / name)

    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_the_configuration() -> None:
    done = promtool("check", "config", DASHBOARDS / "provisioning" / "prometheus" / "prometheus.yml")

    assert done.returncode == 0, done.stdout + done.stderr


def panel_expressions() -> Iterator[str]:
    for name, text in generated().items():
        if name.endswith(".json"):
            for panel in json.loads(text)["panels"]:
                yield from (target["expr"] for target in panel.get("targets", ()))


def test_prometheus_takes_the_expression_of_every_panel(tmp_path: Path) -> None:
    filled = (one.replace("$__rate_interval", "1m").replace("$__range", "1h") for one in panel_expressions())
    rules = [{"record": f"panel_{number}", "expr": expression} for number, expression in enumerate(filled)]
    path = tmp_path / "panels.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))

    done = promtool("check", "rules", path)

    assert done.returncode == 0, done.stdout + done.stderr


def test_a_missing_program_is_a_failure_that_says_what_to_install() -> None:
    with pytest.raises(AssertionError, match="apt-get install prometheus"):
        program("promtool-that-nobody-has")
