"""The comparison dashboard: verdicts by route, attribution of row changes, causes, and the state of the shadow database."""

from collections.abc import Sequence
from typing import Final

from dashboards import links
from dashboards import metric_catalog as metrics
from dashboards import recording_rules as recorded
from dashboards.dashboard import dashboard
from dashboards.links import BaseUrls, DashboardUid, RunbookSection, runbook
from dashboards.panels import Json, Panel, Query, section, stat, table, timeseries
from dashboards.promql import increase, max_by, quantile, rate, sum_by
from dashboards.variables import variable

RANGE: Final = "$__range"
ROUTE: Final = "=~$route"


def build(urls: BaseUrls) -> Json:
    """Build the dashboard."""
    panels = (
        section("Verdicts, and exchanges without one"),
        *_verdicts(),
        section("Row changes"),
        *_effects(),
        section("Causes and rules"),
        *_findings(),
        section("Shadow database and runner"),
        *_shadow(),
    )
    routes = variable("route", "Route", f"label_values({metrics.COMPARED.select()}, route)")
    description = "The results of comparisons, and the reasons why exchanges are not compared."
    return dashboard(DashboardUid.COMPARISON, "Shadow: comparison", description, panels, urls, [routes])


def _verdicts() -> Sequence[Panel]:
    return (
        timeseries(
            "Verdicts",
            Query(sum_by(rate(metrics.COMPARED.select(route=ROUTE)), "route", "verdict"), "{{route}} {{verdict}}"),
            unit="reqps",
            width=12,
            description="Comparisons by route and verdict.",
            link=links.JOURNAL,
        ),
        table(
            "Verdicts by route, selected time range",
            Query(sum_by(increase(metrics.COMPARED.select(route=ROUTE), RANGE), "route", "verdict")),
            unit="short",
            description="Comparisons in the time range that is selected.",
            link=links.JOURNAL,
        ),
        timeseries(
            "Match rate, 1 h",
            Query(recorded.MATCH_RATE_BY_ROUTE.select(), "{{route}}"),
            unit="percentunit",
            description="1 - mismatches / compared.",
            link=links.CAUSES,
        ),
        timeseries(
            "Compared, 1 h",
            Query(recorded.COMPARED_BY_ROUTE.select(), "{{route}}"),
            description="The denominator of the match rate.",
            unit="short",
            link=links.JOURNAL,
        ),
        timeseries(
            "Skipped",
            Query(sum_by(rate(metrics.RUNNER_SKIPPED.select(route=ROUTE)), "route", "cause"), "{{route}} {{cause}}"),
            Query(sum_by(rate(metrics.OTHER_SLICE.select()), "instance"), "left to other slices by {{instance}}"),
            unit="reqps",
            description='RUNBOOK.md explains each cause: "Exchanges are skipped: why, and what to do".',
            link=runbook(RunbookSection.SKIPPED),
        ),
        timeseries(
            "Failed",
            Query(sum_by(rate(metrics.FAILED.select(route=ROUTE)), "route", "cause"), "{{route}} {{cause}}"),
            unit="reqps",
            description="The mirrored side gave no response.",
            link=links.JOURNAL,
        ),
        timeseries(
            "Lost from the journal",
            Query(sum_by(rate(metrics.DROPPED.select()), "cause"), "{{cause}}"),
            unit="reqps",
            description="Exchanges that were deleted or damaged before the runner read them.",
            link=runbook(RunbookSection.SKIPPED),
        ),
        timeseries(
            "Confirmation of mismatches",
            Query(sum_by(rate(metrics.CONFIRMATIONS.select()), "result"), "{{result}}"),
            Query(sum_by(rate(metrics.COMPARED.select(verdict="transient"))), "transient"),
            unit="reqps",
            description="Each mismatch is mirrored a second time; one that does not recur is `transient`. Mismatches beyond"
            " runner.confirm_per_s_max are stored unconfirmed.",
            link=links.CAUSES,
        ),
    )


def _effects() -> Sequence[Panel]:
    return (
        timeseries(
            "Attribution of row changes",
            Query(sum_by(rate(metrics.EFFECTS.select()), "role", "outcome"), "{{role}} {{outcome}}"),
            unit="reqps",
            width=12,
            description="Only row changes that are `attributed` to one request are compared; the other outcomes are skipped and"
            " counted.",
            link=runbook(RunbookSection.SKIPPED),
        ),
        timeseries(
            "Transactions of no exchange",
            Query(sum_by(rate(metrics.BACKGROUND.select())), "live: background"),
            Query(sum_by(rate(metrics.STRAYS.select())), "shadow: stray, undone"),
            unit="ops",
            width=12,
            description="Background transactions of live are applied to the shadow; stray transactions on the shadow are undone.",
            link=runbook(RunbookSection.SKIPPED),
        ),
        timeseries(
            "Mirrored requests without a response",
            Query(sum_by(metrics.UNSETTLED.select()), "waited for"),
            Query(sum_by(increase(metrics.GIVEN_UP.select(), "5m"), "result"), "late writes {{result}}, five minutes"),
            width=12,
            description="Nothing is compared on their keys until their late writes have been seen and taken back.",
            unit="short",
            link=runbook(RunbookSection.SKIPPED),
        ),
        timeseries(
            "Tables left out, sides without names",
            Query(sum_by(rate(metrics.LEFT_OUT_TABLES.select()), "table", "reason"), "{{table}} left out: {{reason}}"),
            Query(
                max_by(metrics.SIDE_UNTAGGED.select(), "side", "role", "instance"),
                "{{side}} ({{role}}) names no request",
            ),
            width=12,
            description="A table is left out of a comparison when its rows carry no key and may be of another writer; the reason is beside it.",
            unit="short",
            link=runbook(RunbookSection.SKIPPED),
        ),
    )


def _findings() -> Sequence[Panel]:
    differences = metrics.DIFFERENCES.select(route=ROUTE)
    return (
        timeseries(
            "Causes of mismatches",
            Query(max_by(metrics.CAUSES.select(), "state"), "{{state}}"),
            width=24,
            description="`shadow causes list` names them. Those of fewer than three exchanges are provisional.",
            unit="short",
            link=links.CAUSES,
        ),
        table(
            "Differences by route, kind and severity, selected time range",
            Query(sum_by(increase(differences, RANGE), "route", "kind", "severity")),
            description="The candidate compared with the legacy. `shadow causes` shows what they have in common.",
            unit="short",
            link=links.CAUSES,
        ),
        timeseries(
            "Differences",
            Query(sum_by(rate(differences), "severity", "kind"), "{{severity}} {{kind}}"),
            unit="ops",
            width=12,
            description="Differences by severity and kind, of which one exchange may have several.",
            link=links.CAUSES,
        ),
        table(
            "Differing rows by table and kind, selected time range",
            Query(sum_by(increase(metrics.ROW_DIFFERENCES.select(), RANGE), "table", "kind")),
            description="registry_humanpoints and registry_humanpointscommunityqualifiedusers hold the human points.",
            unit="short",
            link=links.CAUSES,
        ),
        timeseries(
            "Known differences, expired rules, undescribed tables",
            Query(sum_by(rate(metrics.KNOWN_DIFFERENCES.select(route=ROUTE)), "route"), "{{route}} known"),
            Query(sum_by(rate(metrics.EXPIRED_RULES.select(route=ROUTE)), "route"), "{{route}} rule expired"),
            Query(
                sum_by(rate(metrics.UNDESCRIBED_TABLES.select(route=ROUTE)), "route"), "{{route}} table not described"
            ),
            unit="ops",
            description="Differences that a rule declares as known, rules past their expiry, and tables that `compare.tables` does not describe.",
            link=links.RULES,
        ),
        timeseries(
            "Duration of one comparison",
            Query(quantile(0.5, sum_by(rate(metrics.COMPARE_SECONDS.bucket()), "le")), "p50"),
            Query(quantile(0.99, sum_by(rate(metrics.COMPARE_SECONDS.bucket()), "le")), "p99"),
            unit="s",
            description="Time of comparing responses and rows, without the waits for either side.",
            link=links.CONFIGURATION,
        ),
        stat(
            "Comparison rules loaded",
            Query(f"{metrics.RULES_LOADED.select()} * 1000", "{{instance}}"),
            unit="dateTimeFromNow",
            description="When each runner took the rules in force; one that refused the last change is older than the others.",
            link=links.RULES,
        ),
        stat(
            "Rule reloads, selected time range",
            Query(sum_by(increase(metrics.RULES_RELOADS.select(), RANGE), "result"), "{{result}}"),
            unit="short",
            description="Reloads of the comparison rules, by result.",
            link=links.RULES,
        ),
    )


def _shadow() -> Sequence[Panel]:
    return (
        stat(
            "Resync",
            Query(metrics.RESYNC_PENDING.select(), "{{instance}}"),
            value_names={0: "none pending", 1: "pending"},
            thresholds=((None, "green"), (1, "red")),
            description="Nothing is compared while a resync is pending.",
            unit="short",
            link=runbook(RunbookSection.SKIPPED),
        ),
        timeseries(
            "Tables that are not compared",
            Query(
                f"{max_by(metrics.SCHEMA_DIFFERS.select(), 'table', 'instance')} > 0",
                "{{table}} is defined differently",
            ),
            Query(f"{max_by(metrics.NOT_CAPTURED.select(), 'table', 'instance')} > 0", "{{table}} is not captured"),
            description="Exchanges that write a table which live and shadow define differently are skipped as `schema_differs`.",
            unit="short",
            link=runbook(RunbookSection.MIGRATION),
        ),
        stat(
            "Waiting for the shadow database",
            Query(sum_by(metrics.WAITING.select())),
            description="Mirrored requests and live row changes in the runner's queue.",
            unit="short",
            link=links.OVERVIEW,
        ),
        timeseries(
            "Resyncs",
            Query(sum_by(rate(metrics.RESYNCS.select()), "reason"), "{{reason}}"),
            unit="ops",
            description="Comparisons of whole tables with live, by reason. One after a restart is normal.",
            link=runbook(RunbookSection.SKIPPED),
        ),
        timeseries(
            "Rows written to align the shadow database",
            Query(sum_by(rate(metrics.ALIGNED_ROWS.select())), "aligned after a request"),
            Query(sum_by(rate(metrics.RESYNCED_ROWS.select())), "corrected by a resync"),
            Query(sum_by(rate(metrics.DRIFTED_ROWS.select())), "drifted"),
            Query(sum_by(rate(metrics.SAMPLED_ROWS.select())), "compared untouched"),
            unit="ops",
            description="Drifted rows differed from their expected state: something other than the runner writes to the shadow.",
            link=runbook(RunbookSection.DRIFTED),
        ),
        timeseries(
            "Runner: retries and errors",
            Query(sum_by(rate(metrics.RUNNER_RETRIES.select()), "step"), "retried: {{step}}"),
            Query(sum_by(rate(metrics.RUNNER_ERRORS.select()), "place"), "error: {{place}}"),
            unit="ops",
            description="Steps repeated because a database did not answer, and unexpected errors by place.",
            link=runbook(RunbookSection.DOWN),
        ),
        timeseries(
            "Compared by the response only, or without some tables",
            Query(
                sum_by(rate(metrics.RESPONSE_ONLY.select()), "route", "reason"), "{{route}}, response only: {{reason}}"
            ),
            Query(sum_by(rate(metrics.IN_PART.select()), "route"), "{{route}}, without some tables"),
            unit="reqps",
            description="A match says nothing of rows that were not compared. The match rate above includes these; `shadow status` has a"
            " rate of each.",
            link=links.JOURNAL,
        ),
        timeseries(
            "Mismatch journal",
            Query(sum_by(rate(metrics.MISMATCH_JOURNAL_WRITTEN.select()), "route"), "{{route}}"),
            Query(sum_by(metrics.MISMATCH_JOURNAL_DROPPED.select()), "dropped since the start"),
            description="Exchanges copied to journal.mismatches, on routes with record_if: {only: mismatches}.",
            unit="short",
            link=links.JOURNAL,
        ),
        timeseries(
            "Runner: memory",
            Query(metrics.RUNNER_MEMORY.select(), "{{instance}}"),
            unit="bytes",
            description="Resident memory of the process.",
            link=links.CONFIGURATION,
        ),
        timeseries(
            "Runner: CPU",
            Query(rate(metrics.RUNNER_CPU.select()), "{{instance}}"),
            unit="percentunit",
            description="1 is a whole core.",
            link=links.CONFIGURATION,
        ),
    )
