"""The scorer dashboard: responses, stages of the scoring pipeline, proofs, caches, upstream services, and process resources."""

from collections.abc import Sequence

from dashboards import links
from dashboards import metric_catalog as metrics
from dashboards.alert_rules import gate_limit
from dashboards.dashboard import dashboard
from dashboards.links import BaseUrls, DashboardUid, RunbookSection, runbook
from dashboards.panels import Json, Panel, Query, section, stat, timeseries
from dashboards.promql import quantile, rate, ratio, sum_by


def build(urls: BaseUrls) -> Json:
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
    description = (
        "The new scorer's own metrics. The instance wired to live serves; the one wired to the shadow mirrors."
    )
    return dashboard(DashboardUid.SCORER, "Shadow: scorer", description, panels, urls)


def _responses() -> Sequence[Panel]:
    seconds = metrics.SCORER_SECONDS.bucket()
    return (
        timeseries(
            "Responses by status",
            Query(sum_by(rate(metrics.SCORER_REQUESTS.select()), "status"), "{{status}}"),
            unit="reqps",
            stacked=True,
            description="Responses of the scorer itself, mirrored ones included.",
            link=links.OVERVIEW,
        ),
        timeseries(
            "Responses by route",
            Query(sum_by(rate(metrics.SCORER_REQUESTS.select()), "route"), "{{route}}"),
            unit="reqps",
            description="Responses of the scorer itself, mirrored ones included.",
            link=links.JOURNAL,
        ),
        timeseries(
            "Latency by route, p95",
            Query(quantile(0.95, sum_by(rate(seconds), "route", "le")), "{{route}}", exemplars=True),
            unit="s",
            description="As the scorer measures it, without the proxy.",
            link=links.OVERVIEW,
        ),
        timeseries(
            "Latency",
            *(
                Query(quantile(q, sum_by(rate(seconds), "le")), f"p{q * 100:g}", exemplars=True)
                for q in (0.5, 0.95, 0.99)
            ),
            unit="s",
            description="As the scorer measures it, without the proxy.",
            link=links.OVERVIEW,
        ),
        timeseries(
            "API keys",
            Query(sum_by(rate(metrics.API_KEYS.select()), "result"), "{{result}}"),
            unit="ops",
            description="`migrated`: a key whose slow Django hash was replaced by the fast hash at its first use.",
            link=links.JOURNAL,
        ),
        timeseries(
            "Rate limits",
            Query(sum_by(rate(metrics.RATE_LIMITS.select()), "group", "result"), "{{group}} {{result}}"),
            unit="ops",
            description="Requests within and beyond the limit of their key, by group.",
            link=links.JOURNAL,
        ),
    )


def _scoring() -> Sequence[Panel]:
    stages = rate(metrics.STAGE_SECONDS.bucket())
    return (
        timeseries(
            "Pipeline stages, p95",
            Query(quantile(0.95, sum_by(stages, "stage", "le")), "{{stage}}"),
            unit="s",
            width=12,
            description="In order: auth, config, lock, stamps, verify, links, points, save, commit.",
            link=runbook(RunbookSection.ROLL_BACK),
        ),
        timeseries(
            "Pipeline stages, mean, stacked",
            Query(
                ratio(
                    sum_by(rate(metrics.STAGE_SECONDS.sum()), "stage"),
                    sum_by(rate(metrics.STAGE_SECONDS.count()), "stage"),
                ),
                "{{stage}}",
            ),
            unit="s",
            width=12,
            stacked=True,
            description="Mean time of each stage; the sum is the mean time of a scoring.",
            link=runbook(RunbookSection.ROLL_BACK),
        ),
        timeseries(
            "Scorings",
            Query(sum_by(rate(metrics.SCORINGS.select()), "outcome"), "{{outcome}}"),
            unit="ops",
            description="Scorings by outcome.",
            link=links.JOURNAL,
        ),
        timeseries(
            "Stamps left out of scores",
            Query(sum_by(rate(metrics.STAMPS_DROPPED.select()), "cause"), "{{cause}}"),
            unit="ops",
            description="Stamps that did not count, by cause.",
            link=links.CAUSES,
        ),
        timeseries(
            "Transactions retried",
            Query(sum_by(rate(metrics.ATTEMPTS_REPEATED.select()), "cause"), "{{cause}}"),
            unit="ops",
            description="`links`: two requests claimed the same nullifier, and one of them was retried.",
            link=links.CAUSES,
        ),
    )


def _caches() -> Sequence[Panel]:
    checked = metrics.PROOFS_CHECKED.select()
    return (
        timeseries(
            "Proof cache hit rate",
            Query(
                ratio(sum_by(rate(metrics.PROOFS_CHECKED.select(result="hit"))), sum_by(rate(checked))),
                "hits",
            ),
            unit="percentunit",
            description="Share of the proofs that did not have to be verified again.",
            link=links.OVERVIEW,
        ),
        timeseries(
            "Cached proofs",
            Query(metrics.PROOFS_CACHED.select(), "{{instance}}"),
            unit="short",
            description="Proofs in the cache of each instance.",
            link=links.OVERVIEW,
        ),
        timeseries(
            "Proof look-ups",
            Query(sum_by(rate(checked), "result"), "{{result}}"),
            unit="ops",
            description="Proofs looked up, by result.",
            link=links.OVERVIEW,
        ),
        timeseries(
            "Duration of a verification, p95",
            Query(quantile(0.95, sum_by(rate(metrics.VERIFICATION_SECONDS.bucket()), "le")), "p95"),
            unit="s",
            description="Time of checking the signature of one proof.",
            link=links.OVERVIEW,
        ),
        timeseries(
            "Caches",
            Query(sum_by(rate(metrics.CACHE_READS.select()), "cache", "result"), "{{cache}} {{result}}"),
            Query(sum_by(rate(metrics.CACHE_WRITES_FAILED.select()), "cache"), "{{cache}} write failed"),
            unit="ops",
            description="Reads of each cache by result, and failed writes.",
            link=links.OVERVIEW,
        ),
        timeseries(
            "Upstream latency, p95",
            Query(
                quantile(0.95, sum_by(rate(metrics.UPSTREAM_SECONDS.bucket()), "upstream", "le")),
                "{{upstream}}",
            ),
            unit="s",
            description="Duration of requests to other services.",
            link=runbook(RunbookSection.ROLL_BACK),
        ),
        timeseries(
            "Upstream failures",
            Query(sum_by(rate(metrics.UPSTREAM_FAILURES.select()), "upstream"), "{{upstream}}"),
            unit="ops",
            description="Requests to other services that failed; the scorer answers with 5xx where it cannot do without.",
            link=runbook(RunbookSection.ROLL_BACK),
        ),
    )


def _process() -> Sequence[Panel]:
    return (
        timeseries(
            "Requests in flight",
            Query(metrics.SCORER_IN_PROGRESS.select(), "{{instance}}"),
            description="Requests without a response yet; each may hold one connection of the pool.",
            unit="short",
            link=links.OVERVIEW,
        ),
        timeseries(
            "Waiting for a lock or a connection, p95",
            Query(
                quantile(
                    0.95,
                    sum_by(rate(metrics.STAGE_SECONDS.bucket(stage="=~lock|auth|config")), "stage", "le"),
                ),
                "{{stage}}",
            ),
            unit="s",
            description="The stages that start by taking a connection from the pool, or the row lock.",
            link=runbook(RunbookSection.ROLL_BACK),
        ),
        timeseries(
            "Analytics rows",
            Query(sum_by(rate(metrics.ANALYTICS_ROWS.select()), "result"), "{{result}}"),
            unit="ops",
            description="Rows for analytics by result; those that are dropped change no score.",
            link=links.OVERVIEW,
        ),
        timeseries(
            "Memory",
            Query(metrics.CANDIDATE_MEMORY.select(), "{{instance}}"),
            Query(gate_limit("rss_max_bytes"), "limit of the gate on memory"),
            unit="bytes",
            description="Resident memory of the process, and the limit that rolls back while the candidate serves (`rollout.gates.rss_max_bytes`).",
            link=runbook(RunbookSection.ROLL_BACK),
        ),
        timeseries(
            "CPU",
            Query(rate(metrics.CANDIDATE_CPU.select()), "{{instance}}"),
            unit="percentunit",
            description="1 is a whole core.",
            link=links.OVERVIEW,
        ),
        timeseries(
            "Open files",
            Query(metrics.CANDIDATE_FILES.select(), "{{instance}}"),
            unit="short",
            description="Descriptors, connections included.",
            link=links.OVERVIEW,
        ),
        stat(
            "Instances up",
            Query(metrics.up(metrics.CANDIDATE_JOB).select(), "{{instance}}"),
            unit="short",
            description="1 where the metrics page answers.",
            link=runbook(RunbookSection.MISSING_PANELS),
        ),
    )
