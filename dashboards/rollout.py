"""The rollout dashboard: steps, each gate with its figure, interval and limit, and whether all proxies are in the same state."""

from collections.abc import Sequence
from typing import Final

from dashboards import links
from dashboards import metric_catalog as metrics
from dashboards.dashboard import dashboard
from dashboards.links import BaseUrls, DashboardUid, RunbookSection, runbook
from dashboards.panels import Json, Panel, Query, section, stat, table, timeseries
from dashboards.promql import max_by, rate, spread_by, sum_by

GATES: Final = (
    ("time", "seconds", "Time at the step, and the least time."),
    ("comparisons", "count", "Comparisons at the step, and the least number."),
    ("mismatches", "share", "Rate of mismatches, its interval, and the limit that all of it has to stay below."),
    ("transient", "share", "Share of mirrored runs that differ and do not reproduce, beyond what the legacy's do."),
    ("effects", "share", "Rate of comparisons whose committed rows differ."),
    ("points", "share", "Rate of comparisons that differ in rows of `rollout.gates.points_tables`."),
    ("low_confidence", "share", "Mismatches that only tables of low confidence show."),
    ("errors", "share", "Rate of errors of the candidate minus that of the legacy, on the same requests."),
    ("latency", "ratio", "Quantile of the candidate's durations over the legacy's, on the same requests."),
    ("slow_spells", "share", "Share of the time in which the candidate alone is slow, less that of the legacy alone."),
    ("memory", "bytes", "Resident memory of the candidate process with the most."),
    ("coverage", "count", "Routes of which enough exchanges are compared, and all routes."),
    ("overlapped", "share", "Share of the exchanges that another one of their key overlapped."),
    ("accounting", "count", "Exchanges by which the counts fail to add up."),
)
"""Each gate with the unit of its figure, and its meaning. While a gate counts towards its least evidence, the figure has another unit."""
PANEL_UNITS: Final = {"seconds": "s", "count": "short", "share": "percentunit", "ratio": "short", "bytes": "bytes"}
WIDTH: Final = 6


def build(urls: BaseUrls) -> Json:
    """Build the dashboard."""
    panels = (
        *_steps(),
        section("Gates: figure, interval and limit"),
        *_gates(),
        section("The proxies among themselves"),
        *_agreement(),
    )
    description = "The step of each group, the evidence of its gates, and whether every proxy has the same state."
    return dashboard(DashboardUid.ROLLOUT, "Shadow: rollout", description, panels, urls)


def _steps() -> Sequence[Panel]:
    phase = f"{metrics.ROLLOUT_PHASE.select()} == 1"
    return (
        table(
            "Phase, proxy by proxy",
            Query(phase),
            unit="short",
            description="The phase of each group at each proxy; a proxy that a change did not reach shows another one.",
            link=links.ROLLOUT,
            width=8,
            hidden=("installation", "job", "__name__", "Value"),
        ),
        table(
            "Gates",
            Query(f"{max_by(metrics.ROLLOUT_GATE.select(), 'instance', 'group', 'gate', 'outcome')} == 1"),
            unit="short",
            description="The outcome of each gate at its last evaluation. A promotion needs every one `good`.",
            link=runbook(RunbookSection.PROMOTE),
            width=10,
            hidden=("installation", "Value"),
        ),
        stat(
            "Gates that are not open",
            Query(
                sum_by(metrics.ROLLOUT_GATE.select(outcome="!=good"), "instance", "group"), "{{group}}, {{instance}}"
            ),
            unit="short",
            thresholds=((None, "green"), (1, "orange")),
            description="Gates that are bad, or lack evidence, by the proxy that evaluates.",
            link=links.ROLLOUT,
            width=6,
        ),
        timeseries(
            "Steps",
            Query(metrics.ROLLOUT_STEP.select(), "{{group}}, {{instance}}"),
            unit="short",
            description="The index of the current step, counted from 0.",
            link=links.AUDIT,
            width=12,
        ),
        timeseries(
            "Share of the candidate",
            Query(metrics.CANDIDATE_SHARE.select(), "{{instance}}"),
            unit="percentunit",
            description="Share of clients that the candidate serves at the current step, over all groups of a proxy.",
            link=links.ROLLOUT,
            width=12,
        ),
    )


def _gates() -> Sequence[Panel]:
    return tuple(
        timeseries(
            f"Gate: {name.replace('_', ' ')}",
            Query(
                max_by(metrics.ROLLOUT_GATE_FIGURE.select(gate=name, unit=unit), "instance", "group", "figure"),
                "{{group}} {{figure}}",
            ),
            unit=PANEL_UNITS[unit],
            description=f"{description} `low` and `high` are the ends of the interval at the confidence of the gates.",
            link=links.ROLLOUT,
            width=WIDTH,
            signed=True,
        )
        for name, unit, description in GATES
    )


def _agreement() -> Sequence[Panel]:
    return (
        timeseries(
            "Rolled back",
            Query(metrics.ROLLED_BACK.select(), "{{instance}}"),
            unit="short",
            description="1 while the legacy serves all clients of the proxy, until an operator resumes.",
            link=runbook(RunbookSection.WHY),
        ),
        timeseries(
            "Differing rollout states",
            Query(spread_by(metrics.ROLLOUT_VERSION.select(), "group"), "{{group}} version"),
            Query(spread_by(metrics.ROLLOUT_EPOCH.select(), "group"), "{{group}} epoch"),
            unit="short",
            description="Difference between the newest and the oldest state among the proxies. 0 when all agree.",
            link=runbook(RunbookSection.ROLLED_BACK),
        ),
        timeseries(
            "Time since the last evaluation",
            Query(f"time() - {metrics.ROLLOUT_ASSESSED.select()}", "{{group}}, {{instance}}"),
            unit="s",
            description="One proxy evaluates the gates; when it is gone, another one does. Those that did before keep their last time.",
            link=links.ROLLOUT,
        ),
        timeseries(
            "Rollout store",
            Query(metrics.ROLLOUT_STORE_CONNECTED.select(), "{{instance}} connected"),
            Query(metrics.ROLLOUT_AUDIT_PENDING.select(), "{{instance}} audit entries waiting"),
            unit="short",
            description="Changes made while the database is down are stored when it is back.",
            link=runbook(RunbookSection.DOWN),
        ),
        timeseries(
            "Notifications dropped",
            Query(sum_by(rate(metrics.ROLLOUT_NOTIFICATIONS_DROPPED.select()), "instance"), "{{instance}}"),
            unit="ops",
            description="Messages to Slack or PagerDuty that no attempt delivered; the log names them.",
            link=runbook(RunbookSection.MESSAGES),
        ),
    )
