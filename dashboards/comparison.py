"""The comparison dashboard: verdicts by route, attribution of row changes, causes, and the state of the shadow database."""

from collections.abc import Sequence
from typing import Final

from dashboards import metric_catalog as metrics
from dashboards import recording_rules as recorded
from dashboards.panels import Json, Panel, Query, dashboard, section, stat, table, timeseries, variable
from dashboards.promql import increase, max_by, quantile, rate, sum_by

RANGE: Final = "$__range"
ROUTE: Final = "=~$route"


def build() -> Json:
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
    return dashboard("shadow-comparison", "Shadow: comparison", description, panels, [routes])


def _verdicts() -> Sequence[Panel]:
    return (
        timeseries(
            "Verdicts",
            Query(sum_by(rate(metrics.COMPARED.select(route=ROUTE)), "route", "verdict"), "{{route}} {{verdict}}"),
            unit="reqps",
            width=12,
        ),
        table(
            "Verdicts by route, selected time range",
            Query(sum_by(increase(metrics.COMPARED.select(route=ROUTE), RANGE), "route", "verdict")),
        ),
        timeseries(
            "Match rate, 1 h",
            Query(recorded.MATCH_RATE_BY_ROUTE.select(), "{{route}}"),
            unit="percentunit",
            description="1 - mismatches / compared.",
        ),
        timeseries(
            "Compared, 1 h",
            Query(recorded.COMPARED_BY_ROUTE.select(), "{{route}}"),
            description="The denominator of the match rate.",
        ),
        timeseries(
            "Skipped",
            Query(sum_by(rate(metrics.RUNNER_SKIPPED.select(route=ROUTE)), "route", "cause"), "{{route}} {{cause}}"),
            unit="reqps",
            description='RUNBOOK.md explains each cause: "Exchanges are skipped: why, and what to do".',
        ),
        timeseries(
            "Failed",
            Query(sum_by(rate(metrics.FAILED.select(route=ROUTE)), "route", "cause"), "{{route}} {{cause}}"),
            unit="reqps",
            description="The mirrored side gave no response.",
        ),
        timeseries(
            "Lost from the journal",
            Query(sum_by(rate(metrics.DROPPED.select()), "cause"), "{{cause}}"),
            unit="reqps",
            description="Exchanges that were deleted or damaged before the runner read them.",
        ),
        timeseries(
            "Confirmation of mismatches",
            Query(sum_by(rate(metrics.CONFIRMATIONS.select()), "result"), "{{result}}"),
            Query(sum_by(rate(metrics.COMPARED.select(verdict="transient"))), "transient"),
            unit="reqps",
            description="Each mismatch is mirrored a second time; one that does not recur is `transient`. Mismatches beyond"
            " runner.confirm_per_s_max are stored unconfirmed.",
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
        ),
        timeseries(
            "Transactions of no exchange",
            Query(sum_by(rate(metrics.BACKGROUND.select())), "live: background"),
            Query(sum_by(rate(metrics.STRAYS.select())), "shadow: stray, undone"),
            unit="ops",
            width=12,
            description="Background transactions of live are applied to the shadow; stray transactions on the shadow are undone.",
        ),
        timeseries(
            "Mirrored requests without a response",
            Query(sum_by(metrics.UNSETTLED.select()), "waited for"),
            Query(sum_by(increase(metrics.GIVEN_UP.select(), "5m"), "result"), "late writes {{result}}, five minutes"),
            width=12,
            description="Nothing is compared on their keys until their late writes have been seen and taken back.",
        ),
        timeseries(
            "Tables left out, sides without names",
            Query(sum_by(rate(metrics.LEFT_OUT_TABLES.select()), "table", "reason"), "{{table}} left out: {{reason}}"),
            Query(max_by(metrics.SIDE_UNTAGGED.select(), "side", "role"), "{{side}} ({{role}}) names no request"),
            width=12,
            description="A table is left out of a comparison when its rows carry no key and may be of another writer; the reason is beside it.",
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
        ),
        table(
            "Differences by route, kind and severity, selected time range",
            Query(sum_by(increase(differences, RANGE), "route", "kind", "severity")),
            description="The candidate compared with the legacy. `shadow causes` shows what they have in common.",
        ),
        timeseries(
            "Differences",
            Query(sum_by(rate(differences), "severity", "kind"), "{{severity}} {{kind}}"),
            unit="ops",
            width=12,
        ),
        table(
            "Differing rows by table and kind, selected time range",
            Query(sum_by(increase(metrics.ROW_DIFFERENCES.select(), RANGE), "table", "kind")),
            description="registry_humanpoints and registry_humanpointscommunityqualifiedusers hold the human points.",
        ),
        timeseries(
            "Known differences, expired rules, undescribed tables",
            Query(sum_by(rate(metrics.KNOWN_DIFFERENCES.select(route=ROUTE)), "route"), "{{route}} known"),
            Query(sum_by(rate(metrics.EXPIRED_RULES.select(route=ROUTE)), "route"), "{{route}} rule expired"),
            Query(
                sum_by(rate(metrics.UNDESCRIBED_TABLES.select(route=ROUTE)), "route"), "{{route}} table not described"
            ),
            unit="ops",
        ),
        timeseries(
            "Duration of one comparison",
            Query(quantile(0.5, sum_by(rate(metrics.COMPARE_SECONDS.bucket()), "le")), "p50"),
            Query(quantile(0.99, sum_by(rate(metrics.COMPARE_SECONDS.bucket()), "le")), "p99"),
            unit="s",
        ),
        stat(
            "Comparison rules loaded",
            Query(f"{max_by(metrics.RULES_LOADED.select())} * 1000"),
            unit="dateTimeFromNow",
        ),
        stat(
            "Rule reloads, selected time range",
            Query(sum_by(increase(metrics.RULES_RELOADS.select(), RANGE), "result"), "{{result}}"),
        ),
    )


def _shadow() -> Sequence[Panel]:
    return (
        stat(
            "Resync",
            Query(max_by(metrics.RESYNC_PENDING.select())),
            value_names={0: "none pending", 1: "pending"},
            thresholds=((None, "green"), (1, "red")),
            description="Nothing is compared while a resync is pending.",
        ),
        timeseries(
            "Tables that are not compared",
            Query(f"{max_by(metrics.SCHEMA_DIFFERS.select(), 'table')} > 0", "{{table}} is defined differently"),
            Query(f"{max_by(metrics.NOT_CAPTURED.select(), 'table')} > 0", "{{table}} is not captured"),
            description="Exchanges that write a table which live and shadow define differently are skipped as `schema_differs`.",
        ),
        stat(
            "Waiting for the shadow database",
            Query(sum_by(metrics.WAITING.select())),
            description="Mirrored requests and live row changes in the runner's queue.",
        ),
        timeseries("Resyncs", Query(sum_by(rate(metrics.RESYNCS.select()), "reason"), "{{reason}}"), unit="ops"),
        timeseries(
            "Rows written to align the shadow database",
            Query(sum_by(rate(metrics.ALIGNED_ROWS.select())), "aligned after a request"),
            Query(sum_by(rate(metrics.RESYNCED_ROWS.select())), "corrected by a resync"),
            Query(sum_by(rate(metrics.DRIFTED_ROWS.select())), "drifted"),
            Query(sum_by(rate(metrics.SAMPLED_ROWS.select())), "compared untouched"),
            unit="ops",
            description="Drifted rows differed from their expected state: something other than the runner writes to the shadow.",
        ),
        timeseries(
            "Runner: retries and errors",
            Query(sum_by(rate(metrics.RUNNER_RETRIES.select()), "step"), "retried: {{step}}"),
            Query(sum_by(rate(metrics.RUNNER_ERRORS.select()), "place"), "error: {{place}}"),
            unit="ops",
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
        ),
        timeseries(
            "Mismatch journal",
            Query(sum_by(rate(metrics.MISMATCH_JOURNAL_WRITTEN.select()), "route"), "{{route}}"),
            Query(sum_by(metrics.MISMATCH_JOURNAL_DROPPED.select()), "dropped since the start"),
            description="Exchanges copied to journal.mismatches, on routes with record_if: {only: mismatches}.",
        ),
        timeseries("Runner: memory", Query(metrics.RUNNER_MEMORY.select(), "{{instance}}"), unit="bytes"),
        timeseries("Runner: CPU", Query(rate(metrics.RUNNER_CPU.select()), "{{instance}}"), unit="percentunit"),
    )
