"""Alerting rules agree with the gates, the Alertmanager webhook, the runbook and the scrape configuration."""

import re

import msgspec
import yaml

from dashboards import alert_rules
from dashboards import metric_catalog as metrics
from dashboards.generated_files import ACTION_LABEL, alert_rules_file
from dashboards.links import BaseUrls, RunbookSection, anchor_of
from proxy.config.rollout import AlertmanagerSettings, GateSettings
from proxy.rollout.alertmanager import AlertAction
from proxy.rollout.gates import EFFECT_KINDS
from proxy.ui.runbook import sections_of
from tests.support.paths import ROOT

PROVISIONING = ROOT / "dashboards" / "provisioning"
ALERTS = [alert for group in alert_rules.GROUPS.values() for alert in group]
SCRAPED = yaml.safe_load((PROVISIONING / "prometheus" / "prometheus.yml").read_text())


def test_names_are_unique() -> None:
    assert len({alert.name for alert in ALERTS}) == len(ALERTS)


def test_limits_of_gates_are_settings_of_gates() -> None:
    named = {name for alert in ALERTS for name in re.findall(r'setting="(\w+)"', alert.expression)}

    assert named == {
        "error_rate_increase_max",
        "latency_ratio_max",
        "latency_across_roles_max",
        "rss_max_bytes",
        "mismatch_rate_max",
        "compared_share_min",
    }
    assert named <= set(msgspec.structs.asdict(GateSettings()))


def test_no_alert_adds_up_installations() -> None:
    aggregates = [
        (alert.name, found)
        for alert in ALERTS
        for found in re.findall(r"\b(?:sum|max|min|count|avg)\b(?! by \(installation)(?=[ (])", alert.expression)
    ]

    assert aggregates == []


def test_no_alert_joins_installations() -> None:
    joins = [(alert.name, labels) for alert in ALERTS for labels in re.findall(r"\bon \(([^)]*)\)", alert.expression)]

    assert joins
    assert [join for join in joins if not join[1].startswith("installation")] == []


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


def test_annotations_are_texts_and_links() -> None:
    annotations = [rule["annotations"] for group in alert_rules_file()["groups"] for rule in group["rules"]]

    assert {tuple(texts) for texts in annotations} == {
        ("summary", "description", "runbook", "runbook_url", "dashboard_url")
    }


def test_links_of_alerts_are_below_the_urls_of_the_installation() -> None:
    urls = BaseUrls(ui="https://shadow.example", grafana="https://grafana.example/g")
    annotations = [rule["annotations"] for group in alert_rules_file(urls)["groups"] for rule in group["rules"]]

    assert [a for a in annotations if not a["runbook_url"].startswith("https://shadow.example/runbook#")] == []
    assert [a for a in annotations if not a["dashboard_url"].startswith("https://grafana.example/g/d/shadow-")] == []


def test_every_alert_has_a_severity() -> None:
    rules = [rule for group in alert_rules_file()["groups"] for rule in group["rules"]]

    assert {rule["labels"]["severity"] for rule in rules} == {"page", "warning"}


def test_runbook_has_every_section_that_links_name() -> None:
    sections = {part.name for part in sections_of((ROOT / "RUNBOOK.md").read_text())}

    assert {anchor_of(section.value) for section in RunbookSection} <= sections


def test_every_job_is_scraped() -> None:
    assert tuple(job["job_name"] for job in SCRAPED["scrape_configs"]) == metrics.JOBS


def test_every_target_names_its_installation() -> None:
    labels = [part.get("labels", {}) for job in SCRAPED["scrape_configs"] for part in job["static_configs"]]

    assert [given for given in labels if not given.get("installation")] == []


def test_only_loopback_is_scraped() -> None:
    targets = [t for job in SCRAPED["scrape_configs"] for part in job["static_configs"] for t in part["targets"]]

    assert {target.partition(":")[0] for target in targets} == {"127.0.0.1"}


def test_grafana_reads_prometheus_on_loopback() -> None:
    source = yaml.safe_load((PROVISIONING / "grafana" / "datasources" / "prometheus.yaml").read_text())

    assert [datasource["url"] for datasource in source["datasources"]] == ["http://127.0.0.1:9090"]


def test_points_tables_equal_those_of_the_gates() -> None:
    assert tuple(alert_rules.POINTS_TABLES.split("|")) == GateSettings().points_tables
