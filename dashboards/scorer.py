"""The scorer dashboard: responses, stages of the scoring pipeline, proofs, caches, upstream services, and process resources."""

from collections.abc import Sequence
from typing import Final

from dashboards import metric_catalog as metrics
from dashboards.alert_rules import MEMORY_MAX_BYTES
from dashboards.panels import Json, Panel, Query, dashboard, section, stat, timeseries, variable
from dashboards.promql import quantile, rate, ratio, sum_by

INSTANCE: Final = "=~$instance"


def build() -> Json:
    """Build the dashboard."""
    panels = (
        section("Responses"),
        *_responses(),
        section("Scoring"),
        *_scoring(),
        section("Proofs and caches"),
        *_caches(),
        section("Database and process"),
        *_process(),
    )
    instances = variable("instance", "Instance", f"label_values({metrics.SCORER_IN_PROGRESS.select()}, instance)")
    description = (
        "The new scorer's own metrics. The instance wired to live serves; the one wired to the shadow mirrors."
    )
    return dashboard("shadow-scorer", "Shadow: scorer", description, panels, [instances])


def _responses() -> Sequence[Panel]:
    seconds = metrics.SCORER_SECONDS.bucket(instance=INSTANCE)
    return (
        timeseries(
            "Responses by status",
            Query(sum_by(rate(metrics.SCORER_REQUESTS.select(instance=INSTANCE)), "status"), "{{status}}"),
            unit="reqps",
            stacked=True,
        ),
        timeseries(
            "Responses by route",
            Query(sum_by(rate(metrics.SCORER_REQUESTS.select(instance=INSTANCE)), "route"), "{{route}}"),
            unit="reqps",
        ),
        timeseries(
            "Latency by route, p95",
            Query(quantile(0.95, sum_by(rate(seconds), "route", "le")), "{{route}}"),
            unit="s",
        ),
        timeseries(
            "Latency",
            *(Query(quantile(q, sum_by(rate(seconds), "le")), f"p{q * 100:g}") for q in (0.5, 0.95, 0.99)),
            unit="s",
        ),
        timeseries(
            "API keys",
            Query(sum_by(rate(metrics.API_KEYS.select(instance=INSTANCE)), "result"), "{{result}}"),
            unit="ops",
            description="`migrated`: a key whose slow Django hash was replaced by the fast hash at its first use.",
        ),
        timeseries(
            "Rate limits",
            Query(
                sum_by(rate(metrics.RATE_LIMITS.select(instance=INSTANCE)), "group", "result"), "{{group}} {{result}}"
            ),
            unit="ops",
        ),
    )


def _scoring() -> Sequence[Panel]:
    stages = rate(metrics.STAGE_SECONDS.bucket(instance=INSTANCE))
    return (
        timeseries(
            "Pipeline stages, p95",
            Query(quantile(0.95, sum_by(stages, "stage", "le")), "{{stage}}"),
            unit="s",
            width=12,
            description="In order: auth, config, lock, stamps, verify, links, points, save, commit.",
        ),
        timeseries(
            "Pipeline stages, mean, stacked",
            Query(
                ratio(
                    sum_by(rate(metrics.STAGE_SECONDS.sum(instance=INSTANCE)), "stage"),
                    sum_by(rate(metrics.STAGE_SECONDS.count(instance=INSTANCE)), "stage"),
                ),
                "{{stage}}",
            ),
            unit="s",
            width=12,
            stacked=True,
        ),
        timeseries(
            "Scorings",
            Query(sum_by(rate(metrics.SCORINGS.select(instance=INSTANCE)), "outcome"), "{{outcome}}"),
            unit="ops",
        ),
        timeseries(
            "Stamps left out of scores",
            Query(sum_by(rate(metrics.STAMPS_DROPPED.select(instance=INSTANCE)), "cause"), "{{cause}}"),
            unit="ops",
        ),
        timeseries(
            "Transactions retried",
            Query(sum_by(rate(metrics.ATTEMPTS_REPEATED.select(instance=INSTANCE)), "cause"), "{{cause}}"),
            unit="ops",
            description="`links`: two requests claimed the same nullifier, and one of them was retried.",
        ),
    )


def _caches() -> Sequence[Panel]:
    checked = metrics.PROOFS_CHECKED.select(instance=INSTANCE)
    return (
        timeseries(
            "Proof cache hit rate",
            Query(
                ratio(
                    sum_by(rate(metrics.PROOFS_CHECKED.select(instance=INSTANCE, result="hit"))), sum_by(rate(checked))
                ),
                "hits",
            ),
            unit="percentunit",
        ),
        timeseries("Cached proofs", Query(metrics.PROOFS_CACHED.select(instance=INSTANCE), "{{instance}}")),
        timeseries(
            "Proof look-ups and duration of a verification",
            Query(sum_by(rate(checked), "result"), "{{result}} per second"),
            Query(
                quantile(0.95, sum_by(rate(metrics.VERIFICATION_SECONDS.bucket(instance=INSTANCE)), "le")),
                "p95 of a verification, in seconds",
            ),
        ),
        timeseries(
            "Caches",
            Query(
                sum_by(rate(metrics.CACHE_READS.select(instance=INSTANCE)), "cache", "result"), "{{cache}} {{result}}"
            ),
            Query(
                sum_by(rate(metrics.CACHE_WRITES_FAILED.select(instance=INSTANCE)), "cache"), "{{cache}} write failed"
            ),
            unit="ops",
        ),
        timeseries(
            "Upstream latency, p95",
            Query(
                quantile(0.95, sum_by(rate(metrics.UPSTREAM_SECONDS.bucket(instance=INSTANCE)), "upstream", "le")),
                "{{upstream}}",
            ),
            unit="s",
        ),
        timeseries(
            "Upstream failures",
            Query(sum_by(rate(metrics.UPSTREAM_FAILURES.select(instance=INSTANCE)), "upstream"), "{{upstream}}"),
            unit="ops",
        ),
    )


def _process() -> Sequence[Panel]:
    return (
        timeseries(
            "Requests in flight",
            Query(metrics.SCORER_IN_PROGRESS.select(instance=INSTANCE), "{{instance}}"),
            description="Requests without a response yet; each may hold one connection of the pool.",
        ),
        timeseries(
            "Waiting for a lock or a connection, p95",
            Query(
                quantile(
                    0.95,
                    sum_by(
                        rate(metrics.STAGE_SECONDS.bucket(instance=INSTANCE, stage="=~lock|auth|config")), "stage", "le"
                    ),
                ),
                "{{stage}}",
            ),
            Query(
                sum_by(rate(metrics.ATTEMPTS_REPEATED.select(instance=INSTANCE, cause="connection"))),
                "connections lost per second",
            ),
            unit="s",
            description="The stages that start by taking a connection from the pool, or the row lock.",
        ),
        timeseries(
            "Analytics rows",
            Query(sum_by(rate(metrics.ANALYTICS_ROWS.select(instance=INSTANCE)), "result"), "{{result}}"),
            unit="ops",
        ),
        timeseries(
            "Memory",
            Query(metrics.CANDIDATE_MEMORY.select(instance=INSTANCE), "{{instance}}"),
            Query(f"vector({MEMORY_MAX_BYTES})", "limit of the rollback trigger"),
            unit="bytes",
        ),
        timeseries(
            "CPU", Query(rate(metrics.CANDIDATE_CPU.select(instance=INSTANCE)), "{{instance}}"), unit="percentunit"
        ),
        timeseries("Open files", Query(metrics.CANDIDATE_FILES.select(instance=INSTANCE), "{{instance}}")),
        stat("Instances up", Query(f"sum({metrics.up(metrics.CANDIDATE_JOB).select()})")),
    )
