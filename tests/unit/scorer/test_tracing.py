"""Spans of requests and stages."""

import json

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from scorer.metrics import Metrics
from scorer.tracing import NoTracing, exporting, sampled_trace_id, tracing_to

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_no_endpoint_means_no_traces():
    assert isinstance(exporting(""), NoTracing)


def test_stage_is_a_span_below_its_request_s_which_is_below_the_client_s():
    exporter = InMemorySpanExporter()
    tracing = tracing_to(exporter)
    metrics = Metrics(CollectorRegistry(), tracing)
    with tracing.request({"traceparent": PARENT}), metrics.stage("lock"):
        pass
    tracing._provider.force_flush()
    stage, request = (json.loads(span.to_json()) for span in exporter.get_finished_spans())
    tracing.close()
    assert (stage["name"], stage["parent_id"]) == ("lock", request["context"]["span_id"])
    assert request["context"]["trace_id"][2:] + "-" + request["parent_id"][2:] == PARENT[3:52]


def test_stage_is_measured_with_and_without_traces():
    metrics = Metrics(CollectorRegistry())
    with metrics.stage("lock"):
        pass
    assert metrics.registry.get_sample_value("scorer_stage_seconds_count", {"stage": "lock"}) == 1


@pytest.mark.parametrize("flags", ["01", "03", "ff"])
def test_sampled_trace_is_named(flags: str):
    assert sampled_trace_id({"traceparent": PARENT[:-2] + flags}) == "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize(
    "given",
    [
        "",
        "malformed",
        PARENT[:-2] + "00",
        PARENT[:-2] + "02",
        f"ff{PARENT[2:]}",
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-{'a' * 32}-{'0' * 16}-01",
        PARENT.upper(),
    ],
)
def test_trace_that_is_not_sampled_or_not_valid_is_not_named(given: str):
    assert sampled_trace_id({"traceparent": given}) == ""
