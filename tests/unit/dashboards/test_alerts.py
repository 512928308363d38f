"""Alerts agree with the gates, with the webhook that obeys them, and with the scrape configuration."""

import yaml

from comparator.difference import Kind
from dashboards import alerts
from dashboards import sources as at
from dashboards.files import ACTION_LABEL, alert_rules
from proxy.config.rollout import AlertmanagerSettings, GateSettings
from proxy.rollout.alertmanager import AlertAction
from proxy.rollout.gates import EFFECT_KINDS
from tests.support.paths import ROOT

PROVISIONING = ROOT / "dashboards" / "provisioning"
ALL = [alert for group in alerts.GROUPS.values() for alert in group]
SCRAPED = yaml.safe_load((PROVISIONING / "prometheus" / "prometheus.yml").read_text())


def test_names_are_unique() -> None:
    assert len({alert.name for alert in ALL}) == len(ALL)


def test_limits_are_those_of_the_gates() -> None:
    limits = (
        alerts.ERROR_INCREASE_MAX,
        alerts.MEMORY_MAX_BYTES,
        alerts.MISMATCH_RATE_MAX,
        alerts.COMPARED_SHARE_MIN,
    )
    gates = GateSettings()

    assert limits == (
        gates.error_rate_increase_max,
        gates.rss_max_bytes,
        gates.mismatch_rate_max,
        gates.compared_share_min,
    )


def test_actions_are_those_that_the_webhook_obeys() -> None:
    assert {action.value for action in alerts.Action if action} == set(AlertAction)


def test_the_label_is_the_one_that_the_webhook_reads() -> None:
    assert AlertmanagerSettings().label == ACTION_LABEL


def test_an_alert_without_an_action_carries_no_label_for_one() -> None:
    labels = {rule["alert"]: rule["labels"] for group in alert_rules()["groups"] for rule in group["rules"]}

    assert ACTION_LABEL not in labels["ShadowLag"]


def test_kinds_of_rows_are_those_of_the_gates_less_undescribed_tables() -> None:
    assert set(alerts.ROW_KINDS.split("|")) == EFFECT_KINDS - {Kind.UNDESCRIBED}


def test_whoever_acts_by_itself_also_calls_somebody() -> None:
    assert {alert.severity for alert in ALL if alert.action} == {alerts.Severity.PAGE}


def test_every_alert_says_what_to_do() -> None:
    assert [alert.name for alert in ALL if not alert.do or not alert.summary] == []


def test_every_job_is_scraped() -> None:
    assert tuple(job["job_name"] for job in SCRAPED["scrape_configs"]) == at.JOBS


def test_only_this_machine_is_scraped() -> None:
    targets = [t for job in SCRAPED["scrape_configs"] for part in job["static_configs"] for t in part["targets"]]

    assert {target.partition(":")[0] for target in targets} == {"127.0.0.1"}


def test_grafana_reads_the_prometheus_of_this_machine() -> None:
    source = yaml.safe_load((PROVISIONING / "grafana" / "datasources" / "prometheus.yaml").read_text())

    assert [one["url"] for one in source["datasources"]] == ["http://127.0.0.1:9090"]


def test_tables_of_points_are_those_of_the_gates() -> None:
    assert tuple(alerts.POINTS_TABLES.split("|")) == GateSettings().points_tables
