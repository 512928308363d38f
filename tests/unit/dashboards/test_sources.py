"""Dashboards can only name what the processes really show."""

import re
from collections.abc import Iterable

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.process_collector import ProcessCollector

from comparator.metrics import ComparatorMetrics
from dashboards import sources as at
from dashboards.errors import UnknownLabelError, UnknownMetricError
from proxy.runner.metrics import RunnerMetrics
from proxy.serving import metrics as proxy
from scorer.metrics import Metrics


def declared_in(*owners: object) -> set[str]:
    """Names, without endings, of the prometheus_client metrics that hang on these objects."""
    metrics = (value for owner in owners for value in vars(owner).values() if isinstance(value, MetricWrapperBase))
    return {family.name for metric in metrics for family in metric.describe()}


def without_ending(metrics: Iterable[at.Metric], job: str) -> set[str]:
    return {one.name.removesuffix("_total") for one in metrics if one.job == job and one.name[:8] != "process_"}


def test_a_metric_that_the_proxy_does_not_have_is_refused() -> None:
    with pytest.raises(UnknownMetricError, match="shadow_requests_totals"):
        at._of_proxy("shadow_requests_totals")


def test_a_label_that_a_metric_does_not_have_is_refused() -> None:
    with pytest.raises(UnknownLabelError, match="shadow_compared_total has no label verdicts"):
        at.COMPARED.of(verdicts="match")


def test_a_histogram_has_no_value_of_its_own() -> None:
    with pytest.raises(UnknownMetricError):
        at.SERVED_SECONDS.of()


def test_a_counter_has_no_buckets() -> None:
    with pytest.raises(UnknownMetricError):
        at.SERVED.bucket()


def test_a_selector_names_its_job_and_keeps_operators() -> None:
    selector = at.REQUESTS.of(side="legacy", status="=~5..")

    assert selector == 'shadow_requests_total{job="shadow-proxy",side="legacy",status=~"5.."}'


def test_same_names_of_proxy_and_runner_are_told_apart() -> None:
    assert at.SERVING.of() != at.IN_FLIGHT.of()


def test_every_metric_of_the_runner_and_the_comparator_is_a_source() -> None:
    registry = CollectorRegistry()
    owners = RunnerMetrics(registry), ComparatorMetrics(registry, ())

    assert without_ending(at.DECLARED, at.RUNNER_JOB) == declared_in(*owners)


def test_every_metric_of_the_scorer_is_a_source() -> None:
    assert without_ending(at.DECLARED, at.CANDIDATE_JOB) == declared_in(Metrics(CollectorRegistry()))


def test_every_metric_of_the_proxy_is_a_source() -> None:
    names = {value for name, value in vars(proxy).items() if name.isupper() and isinstance(value, str)}

    assert {one.name for one in at.DECLARED if one.job == at.PROXY_JOB and one.name[:8] != "process_"} == names


def test_process_metrics_are_those_of_prometheus_client() -> None:
    text = " ".join(family.name for family in ProcessCollector(registry=CollectorRegistry()).collect())
    named = {one.name.removesuffix("_total") for one in at.DECLARED if one.name.startswith("process_")}

    assert named <= set(re.findall(r"process_\w+", text))
