"""Alerting rules agree with the gates, the Alertmanager webhook, the runbook and the scrape configuration."""

import re

import yaml

from dashboards import alert_rules
from dashboards import metric_catalog as metrics
from dashboards.generated_files import ACTION_LABEL, alert_rules_file
from proxy.config.rollout import AlertmanagerSettings, GateSettings
from proxy.rollout.alertmanager import AlertAction
from proxy.rollout.gates import EFFECT_KINDS
from tests.support.paths import ROOT

PROVISIONING = ROOT / "dashboards" / "provisioning"
ALERTS = [alert for group in alert_rules.GROUPS.values() for alert in group]
SCRAPED = yaml.safe_load((PROVISIONING / "prometheus" / "prometheus.yml").read_text())


def test_names_are_unique() -> None:
    assert len({alert.name for alert in ALERTS}) == len(ALERTS)


def test_limits_equal_those_of_the_gates() -> None:
    limits = (
        alert_rules.ERROR_INCREASE_MAX,
        alert_rules.MEMORY_MAX_BYTES,
        alert_rules.MISMATCH_RATE_MAX,
        alert_rules.COMPARED_SHARE_MIN,
    )
    gates = GateSettings()

    assert limits == (
        gates.error_rate_increase_max,
        gates.rss_max_bytes,
        gates.mismatch_rate_max,
        gates.compared_share_min,
    )


def test_actions_equal_those_of_the_webhook() -> None:
    assert {action.value for action in alert_rules.RolloutAction} == {action.value for action in AlertAction}


def test_action_label_is_the_default_of_the_webhook() -> None:
    assert AlertmanagerSettings().label == ACTION_LABEL


def test_alert_without_action_has_no_action_label() -> None:
    labels = {rule["alert"]: rule["labels"] for group in alert_rules_file()["groups"] for rule in group["rules"]}

    assert ACTION_LABEL not in labels["ShadowRunnerLag"]


def test_row_kinds_equal_those_of_the_gates() -> None:
    assert set(alert_rules.ROW_KINDS.split("|")) == EFFECT_KINDS


def test_every_alert_with_an_action_is_a_page() -> None:
    assert {alert.severity for alert in ALERTS if alert.action} == {alert_rules.AlertSeverity.PAGE}


def test_every_alert_has_summary_impact_and_first_step() -> None:
    assert [alert.name for alert in ALERTS if not (alert.summary and alert.impact and alert.first_step)] == []


def test_annotations_are_summary_description_and_runbook() -> None:
    annotations = [rule["annotations"] for group in alert_rules_file()["groups"] for rule in group["rules"]]

    assert {tuple(texts) for texts in annotations} == {("summary", "description", "runbook")}


def test_runbook_has_every_section_that_alerts_refer_to() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "RUNBOOK.md").read_text(), re.MULTILINE)

    assert {section.value for section in alert_rules.RunbookSection} <= set(headings)


def test_every_runbook_section_is_used() -> None:
    assert {alert.runbook for alert in ALERTS} == set(alert_rules.RunbookSection)


def test_every_job_is_scraped() -> None:
    assert tuple(job["job_name"] for job in SCRAPED["scrape_configs"]) == metrics.JOBS


def test_only_loopback_is_scraped() -> None:
    targets = [t for job in SCRAPED["scrape_configs"] for part in job["static_configs"] for t in part["targets"]]

    assert {target.partition(":")[0] for target in targets} == {"127.0.0.1"}


def test_grafana_reads_prometheus_on_loopback() -> None:
    source = yaml.safe_load((PROVISIONING / "grafana" / "datasources" / "prometheus.yaml").read_text())

    assert [datasource["url"] for datasource in source["datasources"]] == ["http://127.0.0.1:9090"]


def test_points_tables_equal_those_of_the_gates() -> None:
    assert tuple(alert_rules.POINTS_TABLES.split("|")) == GateSettings().points_tables
