"""Prometheus accepts the generated rules, and each alert fires on its cause."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
import yaml

from dashboards.alert_rules import GROUPS
from dashboards.generated_files import alert_rules_file, recording_rules_file, render_files
from dashboards.recording_rules import RECORDING_RULES
from tests.integration.dashboards.alert_cases import (
    BASELINE_OF_YESTERDAY,
    CASES,
    OF_OTHER_INSTALLATION,
    AlertCase,
    Series,
)
from tests.support.paths import ROOT
from tests.support.promtool import program, promtool

DASHBOARDS = ROOT / "dashboards"
RULES = ("recording.rules.yml", "alerts.rules.yml")


def expectation(case: AlertCase, series: Sequence[Series], *, minute: int, firing: bool) -> Mapping[str, object]:
    """Return one test of a promtool test file: input series, and the expected state of the alert at one minute."""
    query = f'count(ALERTS{{alertname="{case.alert}",alertstate="firing"}}) > bool 0 or vector(0)'
    expected = {"expr": query, "eval_time": f"{minute}m", "exp_samples": [{"labels": "{}", "value": int(firing)}]}
    return {
        "interval": "1m",
        "input_series": [{"series": item.text, "values": item.values} for item in series],
        "promql_expr_test": [expected],
    }


def write_test_files(directory: Path, cases: Sequence[AlertCase], *, interval: str) -> list[Path]:
    """Write a promtool test file for each alert, which evaluates that alert and the recorded series that it reads, once per interval."""
    alerts = {rule["alert"]: rule for group in alert_rules_file()["groups"] for rule in group["rules"]}
    recording = recording_rules_file()["groups"]
    paths: list[Path] = []
    for name in dict.fromkeys(case.alert for case in cases):
        reads = recording if any(rule.name in alerts[name]["expr"] for rule in RECORDING_RULES) else []
        rules = directory / f"{name}.rules.yml"
        rules.write_text(yaml.safe_dump({"groups": [*reads, {"name": "alert", "rules": [alerts[name]]}]}))
        own = [case for case in cases if case.alert == name]
        fires = [expectation(case, case.fires, minute=case.minute, firing=True) for case in own]
        quiet = [expectation(case, case.quiet, minute=case.minute, firing=False) for case in own]
        file = {
            "rule_files": [str(rules)],
            "evaluation_interval": interval,
            "group_eval_order": [*(group["name"] for group in reads), "alert"],
            "tests": [*fires, *quiet],
        }
        paths.append(directory / f"{name}.yml")
        paths[-1].write_text(yaml.safe_dump(file))
    return paths


def test_each_alert_fires_on_its_cause_only(tmp_path: Path) -> None:
    """Run all cases in one promtool process; its output names the alert and the minute that failed."""
    cases = [*CASES, *OF_OTHER_INSTALLATION]

    result = promtool("test", "rules", *write_test_files(tmp_path, cases, interval="1m"))

    assert result.returncode == 0, result.stdout + result.stderr


def test_without_legacy_traffic_the_baseline_is_the_candidate_of_yesterday(tmp_path: Path) -> None:
    result = promtool("test", "rules", *write_test_files(tmp_path, [BASELINE_OF_YESTERDAY], interval="30m"))

    assert result.returncode == 0, result.stdout + result.stderr


def test_every_alert_has_a_case() -> None:
    assert {case.alert for case in CASES} == {alert.name for alerts in GROUPS.values() for alert in alerts}


@pytest.mark.parametrize("name", RULES)
def test_prometheus_accepts_the_rules(name: str) -> None:
    result = promtool("check", "rules", DASHBOARDS / "generated" / name)

    assert result.returncode == 0, result.stdout + result.stderr


def test_prometheus_accepts_the_configuration() -> None:
    result = promtool("check", "config", DASHBOARDS / "provisioning" / "prometheus" / "prometheus.yml")

    assert result.returncode == 0, result.stdout + result.stderr


def panel_expressions() -> Iterator[str]:
    for name, text in render_files().items():
        if name.endswith(".json"):
            for panel in json.loads(text)["panels"]:
                yield from (target["expr"] for target in panel.get("targets", ()))
            yield from (annotation["expr"] for annotation in json.loads(text)["annotations"]["list"])


def test_prometheus_accepts_the_expression_of_every_panel(tmp_path: Path) -> None:
    filled = (
        text.replace("$__rate_interval", "1m").replace("$__range", "1h").replace("$__interval", "1m")
        for text in panel_expressions()
    )
    rules = [{"record": f"panel_{number}", "expr": expression} for number, expression in enumerate(filled)]
    path = tmp_path / "panels.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))

    result = promtool("check", "rules", path)

    assert result.returncode == 0, result.stdout + result.stderr


def test_missing_program_fails_with_the_package_to_install() -> None:
    with pytest.raises(AssertionError, match="apt-get install prometheus"):
        program("promtool-not-installed")
