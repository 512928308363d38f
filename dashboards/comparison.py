"""What comparisons find: verdicts by route, effects and how sure they are, confirmations, findings, and the shadow's health."""

from collections.abc import Sequence
from typing import Final

from dashboards import recording as rec
from dashboards import sources as at
from dashboards.panels import Json, Panel, Query, dashboard, heading, stat, table, timeseries, variable
from dashboards.promql import increase, largest, quantile, rate, total

RANGE: Final = "$__range"
ROUTE: Final = "=~$route"


def build() -> Json:
    """The whole dashboard."""
    panels = (
        heading("Verdicts and what has none"),
        *_verdicts(),
        heading("Effects"),
        *_effects(),
        heading("Findings and rules"),
        *_findings(),
        heading("The shadow database"),
        *_shadow(),
    )
    routes = variable("route", "Route", f"label_values({at.COMPARED.of()}, route)")
    about = "What comparisons find, and what keeps exchanges from being compared."
    return dashboard("shadow-comparison", "Shadow: comparison", about, panels, [routes])


def _verdicts() -> Sequence[Panel]:
    return (
        timeseries(
            "Verdicts",
            Query(total(rate(at.COMPARED.of(route=ROUTE)), "route", "verdict"), "{{route}} {{verdict}}"),
            unit="reqps",
            width=12,
        ),
        table(
            "Verdicts by route, whole range",
            Query(total(increase(at.COMPARED.of(route=ROUTE), RANGE), "route", "verdict")),
        ),
        timeseries(
            "Match rate, 1 h",
            Query(rec.MATCH_RATE_BY_ROUTE.of(), "{{route}}"),
            unit="percentunit",
            about="Of compared.",
        ),
        timeseries(
            "Compared, 1 h", Query(rec.COMPARED_BY_ROUTE.of(), "{{route}}"), about="The match rate's denominator."
        ),
        timeseries(
            "Skipped",
            Query(total(rate(at.SKIPPED.of(route=ROUTE)), "route", "cause"), "{{route}} {{cause}}"),
            unit="reqps",
        ),
        timeseries(
            "Failed",
            Query(total(rate(at.FAILED.of(route=ROUTE)), "route", "cause"), "{{route}} {{cause}}"),
            unit="reqps",
        ),
        timeseries("Lost from the journal", Query(total(rate(at.DROPPED.of()), "cause"), "{{cause}}"), unit="reqps"),
        timeseries(
            "Second runs of mismatches",
            Query(total(rate(at.CONFIRMATIONS.of()), "result"), "{{result}}"),
            Query(total(rate(at.COMPARED.of(verdict="transient"))), "transient"),
            unit="reqps",
            about="What does not come again is transient; `left_out` ones were over runner.confirm_per_s_max.",
        ),
    )


def _effects() -> Sequence[Panel]:
    return (
        timeseries(
            "Attribution of effects",
            Query(total(rate(at.EFFECTS.of()), "role", "outcome"), "{{role}} {{outcome}}"),
            unit="reqps",
            width=12,
            about="Only `attributed` effects are compared; the other outcomes are skipped and counted.",
        ),
        timeseries(
            "Transactions that belong to no exchange",
            Query(total(rate(at.BACKGROUND.of())), "live: background"),
            Query(total(rate(at.STRAYS.of())), "shadow: strays, taken back"),
            unit="ops",
            width=12,
        ),
    )


def _findings() -> Sequence[Panel]:
    differences = at.DIFFERENCES.of(route=ROUTE)
    return (
        table(
            "Differences by route, kind and severity, whole range",
            Query(total(increase(differences, RANGE), "route", "kind", "severity")),
            about="The candidate against the legacy. Places and examples are in the store: `shadow findings`.",
        ),
        timeseries(
            "Differences",
            Query(total(rate(differences), "severity", "kind"), "{{severity}} {{kind}}"),
            unit="ops",
            width=12,
        ),
        table(
            "Differing rows by table and kind, whole range",
            Query(total(increase(at.ROW_DIFFERENCES.of(), RANGE), "table", "kind")),
            about="Human points are the tables registry_humanpoints and registry_humanpointscommunityqualifiedusers.",
        ),
        timeseries(
            "Explained and unexplainable",
            Query(total(rate(at.KNOWN_DIFFERENCES.of(route=ROUTE)), "route"), "{{route}} known"),
            Query(total(rate(at.EXPIRED_RULES.of(route=ROUTE)), "route"), "{{route}} rule expired"),
            Query(total(rate(at.UNDESCRIBED_TABLES.of(route=ROUTE)), "route"), "{{route}} table not described"),
            unit="ops",
        ),
        timeseries(
            "Time of one comparison",
            Query(quantile(0.5, total(rate(at.COMPARE_SECONDS.bucket()), "le")), "p50"),
            Query(quantile(0.99, total(rate(at.COMPARE_SECONDS.bucket()), "le")), "p99"),
            unit="s",
        ),
        stat(
            "Rules in force since",
            Query(f"{largest(at.RULES_LOADED.of())} * 1000"),
            unit="dateTimeFromNow",
        ),
        stat("Rule reloads, whole range", Query(total(increase(at.RULES_RELOADS.of(), RANGE), "result"), "{{result}}")),
    )


def _shadow() -> Sequence[Panel]:
    return (
        stat(
            "Resync",
            Query(largest(at.RESYNC_PENDING.of())),
            words={0: "none pending", 1: "pending"},
            steps=((None, "green"), (1, "red")),
            about="While one is pending nothing is compared.",
        ),
        stat("Waiting for the shadow", Query(total(at.WAITING.of()))),
        timeseries("Resyncs", Query(total(rate(at.RESYNCS.of()), "reason"), "{{reason}}"), unit="ops"),
        timeseries(
            "Rows written to keep it equal",
            Query(total(rate(at.ALIGNED_ROWS.of())), "aligned"),
            Query(total(rate(at.RESYNCED_ROWS.of())), "mended by a resync"),
            Query(total(rate(at.DRIFTED_ROWS.of())), "drifted"),
            unit="ops",
            about="Drifted rows were not as they had to be: somebody else writes the shadow.",
        ),
        timeseries(
            "Runner: steps repeated, errors",
            Query(total(rate(at.RUNNER_RETRIES.of()), "what"), "{{what}} repeated"),
            Query(total(rate(at.RUNNER_ERRORS.of()), "place"), "error in {{place}}"),
            unit="ops",
        ),
        timeseries(
            "Exchanges kept because they differed",
            Query(total(rate(at.CAPTURED.of()), "route"), "{{route}}"),
            Query(total(at.CAPTURES_LOST.of()), "lost since the start"),
            about="Of routes with record_if: {only: mismatches}; they stand in journal.mismatches.",
        ),
        timeseries("Runner: memory", Query(at.RUNNER_MEMORY.of(), "{{instance}}"), unit="bytes"),
        timeseries("Runner: CPU", Query(rate(at.RUNNER_CPU.of()), "{{instance}}"), unit="percentunit"),
    )
