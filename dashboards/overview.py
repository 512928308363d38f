"""The overview dashboard: the serving side, the agreement of both sides and its denominator, and the accounting of exchanges."""

from collections.abc import Iterator, Sequence
from typing import Final

from dashboards import links
from dashboards import metric_catalog as metrics
from dashboards import recording_rules as recorded
from dashboards.dashboard import dashboard
from dashboards.links import BaseUrls, DashboardUid, RunbookSection, runbook
from dashboards.panels import Json, Panel, Query, section, stat, timeseries
from dashboards.promql import quantile, rate, shares, sum_by

MATCH_RATE_THRESHOLDS: Final = ((None, "red"), (0.99, "orange"), (0.999, "green"))
ZERO_IS_GOOD: Final = ((None, "green"), (1, "red"))
LAG_THRESHOLDS_S: Final = ((None, "green"), (10, "orange"), (60, "red"))
QUANTILES: Final = (0.5, 0.95, 0.99)


def build(urls: BaseUrls) -> Json:
    """Build the dashboard."""
    panels = (
        *_state(),
        section("Accounting"),
        *_accounting(),
        section("Shared journal"),
        *_shared_journal(),
        section("Candidate and legacy"),
        *_sides(),
    )
    description = "Which side serves, whether both sides agree, and whether every exchange is accounted for."
    return dashboard(DashboardUid.OVERVIEW, "Shadow: overview", description, panels, urls)


def _state() -> Sequence[Panel]:
    return (
        stat(
            "Rolled back, proxy by proxy",
            Query(metrics.ROLLED_BACK.select(), "{{instance}}"),
            unit="short",
            value_names={0: "not rolled back", 1: "rolled back: legacy serves"},
            thresholds=ZERO_IS_GOOD,
            description="Each proxy on its own: one that a rollback did not reach still shows `not rolled back`.",
            link=runbook(RunbookSection.ROLLED_BACK),
        ),
        stat(
            "Share of the candidate, proxy by proxy",
            Query(metrics.CANDIDATE_SHARE.select(), "{{instance}}"),
            unit="percentunit",
            description="Share of clients that the candidate serves at the current step of each proxy.",
            link=links.ROLLOUT,
        ),
        stat(
            "Match rate, 1 h",
            Query(recorded.MATCH_RATE.select()),
            unit="percentunit",
            thresholds=MATCH_RATE_THRESHOLDS,
            description="1 - mismatches / compared. Known and transient differences count as matches; failed exchanges are not"
            " compared.",
            link=links.CAUSES,
        ),
        stat(
            "Compared, 1 h",
            Query(recorded.COMPARED.select()),
            unit="short",
            description="Exchanges compared in the last hour: the denominator of the match rate.",
            link=links.JOURNAL,
        ),
        stat(
            "Share compared, 1 h",
            Query(recorded.COMPARED_RATIO.select()),
            unit="percentunit",
            thresholds=((None, "orange"), (0.8, "green")),
            description="Compared / read by the runner. Exchanges that a policy excludes from mirroring are not counted.",
            link=runbook(RunbookSection.SKIPPED),
        ),
        stat(
            "Lag",
            Query(metrics.LAG.select(), "{{instance}}"),
            unit="s",
            thresholds=LAG_THRESHOLDS_S,
            description="Age of the oldest exchange without an outcome.",
            link=runbook(RunbookSection.DOWN),
        ),
    )


def _accounting() -> Sequence[Panel]:
    outcomes = (
        ("compared: {{verdict}}", metrics.COMPARED, "verdict"),
        ("skipped by the runner: {{cause}}", metrics.RUNNER_SKIPPED, "cause"),
        ("skipped by the proxy: {{cause}}", metrics.PROXY_SKIPPED, "cause"),
        ("dropped by the runner: {{cause}}", metrics.DROPPED, "cause"),
        ("dropped by the journal: {{cause}}", metrics.JOURNAL_DROPPED, "cause"),
        ("failed: {{cause}}", metrics.FAILED, "cause"),
    )
    return (
        timeseries(
            "Served = compared + skipped + dropped + failed + in flight",
            *(Query(sum_by(rate(metric.select()), label), legend) for legend, metric, label in outcomes),
            Query(sum_by(rate(metrics.SERVED.select())), "served"),
            unit="reqps",
            width=16,
            description="Exchanges per second by outcome. `served` minus all outcomes is the growth of the exchanges in flight.",
            link=links.OVERVIEW,
        ),
        stat(
            "Not accounted for",
            Query(sum_by(f"abs({recorded.PROXY_GAP.select()})")),
            unit="short",
            thresholds=ZERO_IS_GOOD,
            description="Served - (written + queued + dropped + skipped), over all proxies; a surplus does not hide a gap. Must be 0.",
            link=runbook(RunbookSection.SKIPPED),
        ),
        stat(
            "Missing by number",
            Query(sum_by(metrics.MISSING.select()), "read, without an outcome"),
            Query(sum_by(metrics.UNWRITTEN.select()), "lost with a proxy's memory"),
            unit="short",
            thresholds=ZERO_IS_GOOD,
            description="Exchanges that neither the store nor the runner has, although their writers numbered them."
            " `shadow status` names them. Must be 0; the second one grows when a proxy is killed.",
            link=runbook(RunbookSection.SKIPPED),
        ),
        stat(
            "Outcomes without exchange",
            Query("-" + sum_by(f"clamp_max({metrics.RUNNER_IN_FLIGHT.select()}, 0)")),
            unit="short",
            thresholds=ZERO_IS_GOOD,
            description="Outcomes in excess of the exchanges in the journal: some were counted twice. Must be 0.",
            link=runbook(RunbookSection.SKIPPED),
        ),
        timeseries(
            "In flight",
            Query(sum_by(metrics.PROXY_IN_FLIGHT.select()), "being served"),
            Query(sum_by(metrics.JOURNAL_QUEUED.select()), "queued for the journal"),
            Query(sum_by(metrics.RUNNER_IN_FLIGHT.select()), "in the journal, without an outcome"),
            unit="short",
            description="Exchanges on their way, by where they are.",
            link=links.OVERVIEW,
        ),
        timeseries(
            "Lag by runner",
            Query(metrics.LAG.select(), "{{instance}}"),
            unit="s",
            description="Age of the oldest exchange without an outcome: how much later gates and alerts see a regression.",
            link=runbook(RunbookSection.DOWN),
        ),
        timeseries(
            "Write-ahead log kept for the runner",
            Query(metrics.WAL_RETAINED.select(), "{{role}}, {{instance}}"),
            unit="bytes",
            description="Log that live (served) and the shadow (mirrored) keep until the runner has confirmed it. It fills their disks.",
            link=runbook(RunbookSection.SKIPPED),
        ),
        timeseries(
            "Journal written - runner read",
            Query(recorded.JOURNAL_RUNNER_GAP.select(), "exchanges"),
            unit="short",
            description="Constant while no process restarts. The level has no meaning, because each process counts from its own"
            " start.",
            link=runbook(RunbookSection.SKIPPED),
        ),
    )


def _shared_journal() -> Sequence[Panel]:
    link = runbook(RunbookSection.SHARED_JOURNAL)
    return (
        timeseries(
            "Shared journal: behind each writer",
            Query(metrics.WRITER_LAG.select(), "{{writer}}, {{instance}}"),
            unit="s",
            description="Age of the time up to which the runner has read everything of a writer.",
            link=link,
        ),
        timeseries(
            "Shared journal: not read, and lost",
            Query(metrics.WRITER_UNREAD.select(), "{{writer}} not read"),
            Query(metrics.WRITER_LOST.select(), "{{writer}} lost"),
            unit="short",
            description="Exchanges in the spool of a writer that the runner has not read, and those that it could not read.",
            link=link,
        ),
        timeseries(
            "Shared journal: parts",
            Query(metrics.BROKER_UP.select(), "broker answers {{instance}}"),
            Query(metrics.LEASE_HELD.select(), "lease {{reader}} held by {{instance}}"),
            Query(metrics.READER_AWAY.select(), "{{reader}} away, seen by {{instance}}"),
            Query(metrics.WRITER_SILENT.select(), "{{writer}} is silent"),
            unit="short",
            description="One runner holds the lease; the others wait for it. A slice without a runner is away. A silent writer is not waited for.",
            link=link,
        ),
        timeseries(
            "Shared journal: clocks",
            Query(metrics.WRITER_CLOCK_AHEAD.select(), "{{writer}}"),
            unit="s",
            description="How far the clock of a writer's machine is ahead of the broker's; `runner.clock_skew_ms` has to cover it.",
            link=link,
            signed=True,
        ),
        timeseries(
            "Shared journal: failures to trim the broker",
            Query(rate(metrics.TRIM_FAILURES.select()), "{{instance}}"),
            unit="ops",
            description="What every reader has committed could not be deleted from the broker, because the store did not answer.",
            link=link,
        ),
    )


def _quantiles(buckets: str) -> Iterator[Query]:
    for q in QUANTILES:
        yield Query(quantile(q, sum_by(rate(buckets), "side", "le")), f"{{{{side}}}} p{q * 100:g}", exemplars=True)


def _sides() -> Sequence[Panel]:
    served = metrics.SERVED_SECONDS.bucket()
    mirrored = metrics.MIRRORED_SECONDS.bucket()
    return (
        timeseries(
            "Requests served",
            Query(sum_by(rate(metrics.REQUESTS.select()), "side"), "{{side}}"),
            unit="reqps",
            stacked=True,
            description="Responses to clients, by the side that gave them.",
            link=links.OVERVIEW,
        ),
        timeseries(
            "Share of 5xx responses",
            Query(recorded.ERROR_RATIO.select(), "{{side}}, served"),
            unit="percentunit",
            description="5xx / all responses that the side served.",
            link=runbook(RunbookSection.ROLL_BACK),
        ),
        timeseries(
            "Responses by status",
            Query(sum_by(rate(metrics.REQUESTS.select()), "side", "status"), "{{side}} {{status}}"),
            unit="reqps",
            description="Responses to clients by side and status.",
            link=links.JOURNAL,
        ),
        timeseries(
            "Latency, served",
            *_quantiles(served),
            unit="s",
            width=12,
            description="From a request's head to the end of its response, as the proxy measures it.",
            link=links.OVERVIEW,
        ),
        timeseries(
            "Latency, mirrored",
            *_quantiles(mirrored),
            unit="s",
            width=12,
            description="Served and mirrored requests run under different conditions: compare the sides within one role.",
            link=links.OVERVIEW,
        ),
        timeseries(
            "Failed mirrored requests, share",
            Query(
                shares(sum_by(rate(metrics.FAILED.select()), "cause"), sum_by(rate(metrics.READ.select()))), "{{cause}}"
            ),
            unit="percentunit",
            width=12,
            description="Of the exchanges that the runner read.",
            link=links.JOURNAL,
        ),
        timeseries(
            "Match rate by route, 1 h",
            Query(recorded.MATCH_RATE_BY_ROUTE.select(), "{{route}}"),
            unit="percentunit",
            width=12,
            description="The comparison dashboard shows the denominators.",
            link=links.CAUSES,
        ),
    )
