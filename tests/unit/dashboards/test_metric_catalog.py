"""Dashboards can only use metrics and labels that the processes export."""

import re

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.process_collector import ProcessCollector

from comparator.metrics import ComparatorMetrics
from dashboards import metric_catalog as metrics
from dashboards.errors import UnknownLabelError, UnknownMetricError
from proxy.rollout import metrics as rollout_metrics
from proxy.runner.metrics import RunnerMetrics
from proxy.serving import metrics as proxy_metrics
from scorer.metrics import Metrics


def declared_in(*owners: object) -> set[str]:
    """Return the names, without suffixes, of the prometheus_client metrics that are attributes of these objects."""
    declared = (value for owner in owners for value in vars(owner).values() if isinstance(value, MetricWrapperBase))
    return {family.name for metric in declared for family in metric.describe()}


def listed(job: str) -> set[str]:
    """Return the names of the job's own metrics in the catalogue."""
    return {metric.name for metric in metrics.ALL_METRICS if metric.job == job and metric.name[:8] != "process_"}


def without_suffix(names: set[str]) -> set[str]:
    return {name.removesuffix("_total") for name in names}


def test_unknown_proxy_metric_is_an_error() -> None:
    with pytest.raises(UnknownMetricError, match="shadow_requests_totals"):
        metrics._proxy_metric("shadow_requests_totals")


def test_unknown_label_is_an_error() -> None:
    with pytest.raises(UnknownLabelError, match="shadow_compared_total has no label verdicts"):
        metrics.COMPARED.select(verdicts="match")


def test_histogram_without_suffix_cannot_be_selected() -> None:
    with pytest.raises(UnknownMetricError):
        metrics.SERVED_SECONDS.select()


def test_counter_has_no_buckets() -> None:
    with pytest.raises(UnknownMetricError):
        metrics.SERVED.bucket()


def test_selector_names_its_job_and_keeps_operators() -> None:
    selector = metrics.REQUESTS.select(side="legacy", status="=~5..")

    assert selector == 'shadow_requests_total{job="shadow-proxy",side="legacy",status=~"5.."}'


def test_equal_names_of_proxy_and_runner_are_different_series() -> None:
    assert metrics.PROXY_IN_FLIGHT.select() != metrics.RUNNER_IN_FLIGHT.select()


def test_every_metric_of_runner_and_comparator_is_listed() -> None:
    registry = CollectorRegistry()
    owners = RunnerMetrics(registry), ComparatorMetrics(registry, ())

    assert without_suffix(listed(metrics.RUNNER_JOB)) == declared_in(*owners)


def test_every_metric_of_the_scorer_is_listed() -> None:
    assert without_suffix(listed(metrics.CANDIDATE_JOB)) == declared_in(Metrics(CollectorRegistry()))


def test_every_metric_of_the_proxy_is_listed() -> None:
    names = {
        value
        for module in (proxy_metrics, rollout_metrics)
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, str)
    }

    assert listed(metrics.PROXY_JOB) == names


def test_process_metrics_exist_in_prometheus_client() -> None:
    text = " ".join(family.name for family in ProcessCollector(registry=CollectorRegistry()).collect())
    used = {metric.name.removesuffix("_total") for metric in metrics.ALL_METRICS if metric.name.startswith("process_")}

    assert used <= set(re.findall(r"process_\w+", text))
