"""The candidate from inside: responses, the stages of the scoring pipeline, proofs, caches, upstreams, and what the process uses."""

from collections.abc import Sequence
from typing import Final

from dashboards import sources as at
from dashboards.alerts import MEMORY_MAX_BYTES
from dashboards.panels import Json, Panel, Query, dashboard, heading, stat, timeseries, variable
from dashboards.promql import quantile, rate, ratio, total

INSTANCE: Final = "=~$instance"


def build() -> Json:
    """The whole dashboard."""
    panels = (
        heading("Responses"),
        *_responses(),
        heading("Scoring"),
        *_scoring(),
        heading("Proofs and caches"),
        *_caches(),
        heading("Database and process"),
        *_process(),
    )
    instances = variable("instance", "Instance", f"label_values({at.SCORER_IN_PROGRESS.of()}, instance)")
    about = "The new scorer's own metrics; the instance wired to live serves, the one wired to the shadow mirrors."
    return dashboard("shadow-scorer", "Shadow: scorer", about, panels, [instances])


def _responses() -> Sequence[Panel]:
    seconds = at.SCORER_SECONDS.bucket(instance=INSTANCE)
    return (
        timeseries(
            "Responses by status",
            Query(total(rate(at.SCORER_REQUESTS.of(instance=INSTANCE)), "status"), "{{status}}"),
            unit="reqps",
            stacked=True,
        ),
        timeseries(
            "Responses by route",
            Query(total(rate(at.SCORER_REQUESTS.of(instance=INSTANCE)), "route"), "{{route}}"),
            unit="reqps",
        ),
        timeseries(
            "Latency by route, p95",
            Query(quantile(0.95, total(rate(seconds), "route", "le")), "{{route}}"),
            unit="s",
        ),
        timeseries(
            "Latency",
            *(Query(quantile(s, total(rate(seconds), "le")), f"p{s * 100:g}") for s in (0.5, 0.95, 0.99)),
            unit="s",
        ),
        timeseries(
            "API keys",
            Query(total(rate(at.API_KEYS.of(instance=INSTANCE)), "result"), "{{result}}"),
            unit="ops",
            about="`migrated`: the first use of a key that only had the old, slow hash.",
        ),
        timeseries(
            "Rate limits",
            Query(total(rate(at.RATE_LIMITS.of(instance=INSTANCE)), "group", "result"), "{{group}} {{result}}"),
            unit="ops",
        ),
    )


def _scoring() -> Sequence[Panel]:
    stages = rate(at.STAGE_SECONDS.bucket(instance=INSTANCE))
    return (
        timeseries(
            "Pipeline stages, p95",
            Query(quantile(0.95, total(stages, "stage", "le")), "{{stage}}"),
            unit="s",
            width=12,
            about="auth, config, lock, stamps, verify, links, points, save, commit.",
        ),
        timeseries(
            "Pipeline stages, mean, stacked",
            Query(
                ratio(
                    total(rate(at.STAGE_SECONDS.sum(instance=INSTANCE)), "stage"),
                    total(rate(at.STAGE_SECONDS.count(instance=INSTANCE)), "stage"),
                ),
                "{{stage}}",
            ),
            unit="s",
            width=12,
            stacked=True,
        ),
        timeseries(
            "Scorings", Query(total(rate(at.SCORINGS.of(instance=INSTANCE)), "outcome"), "{{outcome}}"), unit="ops"
        ),
        timeseries(
            "Stamps that did not count",
            Query(total(rate(at.STAMPS_DROPPED.of(instance=INSTANCE)), "cause"), "{{cause}}"),
            unit="ops",
        ),
        timeseries(
            "Transactions tried again",
            Query(total(rate(at.ATTEMPTS_REPEATED.of(instance=INSTANCE)), "cause"), "{{cause}}"),
            unit="ops",
            about="links: two requests claimed the same nullifier; one of them began again.",
        ),
    )


def _caches() -> Sequence[Panel]:
    checked = at.PROOFS_CHECKED.of(instance=INSTANCE)
    return (
        timeseries(
            "Proof cache, share of hits",
            Query(
                ratio(total(rate(at.PROOFS_CHECKED.of(instance=INSTANCE, result="hit"))), total(rate(checked))), "hits"
            ),
            unit="percentunit",
        ),
        timeseries("Proofs in memory", Query(at.PROOFS_CACHED.of(instance=INSTANCE), "{{instance}}")),
        timeseries(
            "Proofs: look-ups and time of one verification",
            Query(total(rate(checked), "result"), "{{result}} a second"),
            Query(
                quantile(0.95, total(rate(at.VERIFICATION_SECONDS.bucket(instance=INSTANCE)), "le")),
                "p95 of a verification, s",
            ),
        ),
        timeseries(
            "Caches",
            Query(total(rate(at.CACHE_READS.of(instance=INSTANCE)), "cache", "result"), "{{cache}} {{result}}"),
            Query(total(rate(at.CACHE_WRITES_FAILED.of(instance=INSTANCE)), "cache"), "{{cache}} not written"),
            unit="ops",
        ),
        timeseries(
            "Upstreams, p95",
            Query(
                quantile(0.95, total(rate(at.UPSTREAM_SECONDS.bucket(instance=INSTANCE)), "upstream", "le")),
                "{{upstream}}",
            ),
            unit="s",
        ),
        timeseries(
            "Upstreams, failures",
            Query(total(rate(at.UPSTREAM_FAILURES.of(instance=INSTANCE)), "upstream"), "{{upstream}}"),
            unit="ops",
        ),
    )


def _process() -> Sequence[Panel]:
    return (
        timeseries(
            "Requests in progress",
            Query(at.SCORER_IN_PROGRESS.of(instance=INSTANCE), "{{instance}}"),
            about="Admitted and not answered; each may hold one connection of the pool.",
        ),
        timeseries(
            "Waiting for a lock or a connection, p95",
            Query(
                quantile(
                    0.95,
                    total(rate(at.STAGE_SECONDS.bucket(instance=INSTANCE, stage="=~lock|auth|config")), "stage", "le"),
                ),
                "{{stage}}",
            ),
            Query(
                total(rate(at.ATTEMPTS_REPEATED.of(instance=INSTANCE, cause="connection"))), "connections lost a second"
            ),
            unit="s",
            about="The stages that begin with a connection of the pool or with the row lock.",
        ),
        timeseries(
            "Analytics rows",
            Query(total(rate(at.ANALYTICS_ROWS.of(instance=INSTANCE)), "result"), "{{result}}"),
            unit="ops",
        ),
        timeseries(
            "Memory",
            Query(at.CANDIDATE_MEMORY.of(instance=INSTANCE), "{{instance}}"),
            Query(f"vector({MEMORY_MAX_BYTES})", "allowed"),
            unit="bytes",
        ),
        timeseries("CPU", Query(rate(at.CANDIDATE_CPU.of(instance=INSTANCE)), "{{instance}}"), unit="percentunit"),
        timeseries("Open files", Query(at.CANDIDATE_FILES.of(instance=INSTANCE), "{{instance}}")),
        stat("Instances up", Query(f"sum({at.up(at.CANDIDATE_JOB).of()})")),
    )
