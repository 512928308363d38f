"""The proxy dashboard: forwarding, backends, the journal's write side, rollout state, and resources of the process."""

from collections.abc import Sequence
from typing import Final

from dashboards import metric_catalog as metrics
from dashboards import recording_rules as recorded
from dashboards.panels import Json, Panel, Query, dashboard, section, table, timeseries, variable
from dashboards.promql import max_by, quantile, rate, ratio, sum_by

ROUTE: Final = "=~$route"


def build() -> Json:
    """Build the dashboard."""
    panels = (
        section("Forwarding"),
        *_forwarding(),
        section("Backends"),
        *_backends(),
        section("Journal"),
        *_journal(),
        section("Rollout"),
        *_rollout(),
        section("Configuration and process"),
        *_process(),
    )
    routes = variable("route", "Route", f"label_values({metrics.REQUESTS.select()}, route)")
    description = "Responses to clients, state of the backends, and exchanges written to the journal."
    return dashboard("shadow-proxy", "Shadow: proxy", description, panels, [routes])


def _forwarding() -> Sequence[Panel]:
    requests = metrics.REQUESTS.select(route=ROUTE)
    seconds = metrics.SERVED_SECONDS.bucket(route=ROUTE)
    return (
        timeseries("Requests", Query(sum_by(rate(requests), "route", "side"), "{{route}} {{side}}"), unit="reqps"),
        timeseries(
            "Latency, p95",
            Query(quantile(0.95, sum_by(rate(seconds), "route", "side", "le")), "{{route}} {{side}}"),
            unit="s",
        ),
        timeseries(
            "Share of 5xx responses",
            Query(
                ratio(
                    sum_by(rate(metrics.REQUESTS.select(route=ROUTE, status="=~5..")), "route", "side"),
                    sum_by(rate(requests), "route", "side"),
                ),
                "{{route}} {{side}}",
            ),
            unit="percentunit",
        ),
        timeseries(
            "Responses of the proxy itself",
            Query(sum_by(rate(metrics.REFUSED.select()), "status"), "{{status}}"),
            unit="reqps",
            description="400: not a valid request. 408, 413, 414, 431, 503: a limit was exceeded. 502, 504: the backend gave no"
            " response.",
        ),
        timeseries("Requests in flight", Query(metrics.PROXY_IN_FLIGHT.select(), "{{instance}}")),
        timeseries("Client connections", Query(metrics.CLIENT_CONNECTIONS.select(), "{{instance}}")),
        timeseries(
            "Message heads, cached or parsed",
            Query(sum_by(rate(metrics.HEAD_LOOKUPS.select()), "message", "result"), "{{message}} {{result}}"),
            unit="reqps",
            description="Heads found in the head cache are not parsed, which saves CPU. Many are parsed while clients send header"
            " fields that were not seen before.",
        ),
    )


def _backends() -> Sequence[Panel]:
    return (
        timeseries(
            "Requests without a response",
            Query(sum_by(rate(metrics.BACKEND_FAILURES.select()), "side", "cause"), "{{side}} {{cause}}"),
            unit="reqps",
        ),
        timeseries(
            "Connections to backends",
            Query(sum_by(metrics.BACKEND_CONNECTIONS.select(), "side"), "{{side}}"),
        ),
        timeseries(
            "Retries and fallbacks",
            Query(sum_by(rate(metrics.BACKEND_RETRIES.select())), "retried on a new connection"),
            Query(sum_by(rate(metrics.FALLBACKS.select()), "side"), "answered by {{side}} instead"),
            unit="reqps",
        ),
        timeseries(
            "Healthy and ejected backends",
            Query(metrics.BACKEND_HEALTHY.select(), "{{side}} healthy, {{instance}}"),
            Query(metrics.BACKEND_EJECTED.select(), "{{side}} ejected, {{instance}}"),
            description="Healthy: the health check succeeds. Ejected: clients' requests failed, so that the other side is preferred.",
        ),
        timeseries(
            "Failed health checks and ejections",
            Query(sum_by(rate(metrics.BACKEND_CHECKS.select(result="failed")), "side"), "{{side}} check failed"),
            Query(sum_by(rate(metrics.BACKEND_EJECTIONS.select()), "side"), "{{side}} ejected"),
            unit="reqps",
        ),
    )


def _journal() -> Sequence[Panel]:
    return (
        timeseries(
            "Exchanges written", Query(sum_by(rate(metrics.JOURNAL_WRITTEN.select())), "exchanges"), unit="reqps"
        ),
        timeseries("Bytes written", Query(sum_by(rate(metrics.JOURNAL_BYTES.select())), "bytes"), unit="Bps"),
        timeseries(
            "Exchanges queued",
            Query(metrics.JOURNAL_QUEUED.select(), "{{instance}}"),
            description="Served and not yet written to disk.",
        ),
        timeseries(
            "Exchanges lost",
            Query(sum_by(rate(metrics.JOURNAL_DROPPED.select()), "cause"), "{{cause}}"),
            Query(sum_by(rate(metrics.JOURNAL_UNREAD_DELETED.select())), "deleted unread"),
            unit="reqps",
        ),
        timeseries(
            "Exchanges lost, by route",
            Query(sum_by(rate(metrics.ROUTE_DROPPED.select()), "route"), "{{route}}"),
            unit="reqps",
            description="What the gate on coverage counts as not compared.",
        ),
        timeseries(
            "Spool of a shared journal",
            Query(metrics.SPOOL_BYTES.select(), "{{instance}}"),
            unit="bytes",
            description="Segments on the machine: not shipped, or not committed by every reader, or kept by the retention.",
        ),
        timeseries(
            "Spool: not shipped",
            Query(metrics.SPOOL_UNSHIPPED.select(), "{{instance}}"),
            Query(metrics.SHIPPER_PAUSED.select(), "writers paused, {{instance}}"),
            description="Exchanges that the broker was not given yet. Paused: the slowest reader is too far behind.",
        ),
        timeseries(
            "Spool: age of the oldest that is not shipped", Query(metrics.SPOOL_AGE.select(), "{{instance}}"), unit="s"
        ),
        timeseries(
            "Shipper",
            Query(metrics.SHIPPER_UP.select(), "ships, {{instance}}"),
            Query(rate(metrics.SHIPPER_RESTARTS.select()), "broker had lost it, {{instance}}"),
            description="0: the shipper does not run, or the broker does not take what it ships.",
        ),
        timeseries(
            "Bytes truncated at start",
            Query(metrics.JOURNAL_TORN_BYTES.select(), "{{instance}}"),
            unit="bytes",
            description="Incomplete frames at the end of a segment, left by a crash.",
        ),
        timeseries(
            "Not journaled, and overlapped",
            Query(sum_by(rate(metrics.PROXY_SKIPPED.select()), "cause"), "not journaled: {{cause}}"),
            Query(sum_by(rate(metrics.OVERLAPPED.select())), "overlapped"),
            unit="reqps",
            description="Overlapped exchanges are journaled; another exchange with the same ordering key was in flight.",
        ),
        timeseries(
            "Not accounted for",
            Query(recorded.PROXY_GAP.select(), "{{instance}}"),
            description="Served - (written + queued + dropped + skipped). Must be 0.",
        ),
    )


def _rollout() -> Sequence[Panel]:
    return (
        timeseries(
            "Share of the candidate", Query(metrics.CANDIDATE_SHARE.select(), "{{instance}}"), unit="percentunit"
        ),
        timeseries("Rolled back", Query(metrics.ROLLED_BACK.select(), "{{instance}}")),
        timeseries(
            "Phase and step by group",
            Query(max_by(metrics.ROLLOUT_STEP.select(), "group"), "{{group}} step"),
            Query(f"{max_by(metrics.ROLLOUT_PHASE.select(), 'group', 'phase')} == 1", "{{group}} {{phase}}"),
            description="The index of the current step, counted from 0, and the current phase.",
        ),
        table(
            "Gates",
            Query(f"{max_by(metrics.ROLLOUT_GATE.select(), 'group', 'gate', 'outcome')} == 1"),
            description="The outcome of each gate at its last evaluation.",
        ),
        timeseries(
            "Time since the last evaluation",
            Query(f"time() - {max_by(metrics.ROLLOUT_ASSESSED.select(), 'group')}", "{{group}}"),
            unit="s",
            width=12,
        ),
        timeseries(
            "Differing rollout states",
            Query(
                f"max by (group) ({metrics.ROLLOUT_VERSION.select()}) - min by (group) ({metrics.ROLLOUT_VERSION.select()})",
                "{{group}} version",
            ),
            Query(
                f"max by (group) ({metrics.ROLLOUT_EPOCH.select()}) - min by (group) ({metrics.ROLLOUT_EPOCH.select()})",
                "{{group}} epoch",
            ),
            description="Difference between the newest and the oldest state among the proxies. 0 when all agree.",
        ),
        timeseries(
            "Rollout store",
            Query(metrics.ROLLOUT_STORE_CONNECTED.select(), "{{instance}} connected"),
            Query(metrics.ROLLOUT_AUDIT_PENDING.select(), "{{instance}} audit entries waiting"),
            description="Changes made while the database is down are stored when it is back.",
        ),
        timeseries(
            "Notifications dropped",
            Query(sum_by(rate(metrics.ROLLOUT_NOTIFICATIONS_DROPPED.select())), "dropped"),
            unit="ops",
        ),
    )


def _process() -> Sequence[Panel]:
    return (
        timeseries(
            "Worker crashes",
            Query(metrics.WORKER_RESTARTS.select(), "{{instance}} restarts"),
            Query(metrics.WORKER_LOST_REQUESTS.select(), "{{instance}} requests lost"),
            Query(metrics.WORKER_LOST_EXCHANGES.select(), "{{instance}} exchanges lost"),
            description="Requests that were in flight, and exchanges that were not yet on disk, when a worker crashed.",
        ),
        timeseries(
            "Configuration reloads",
            Query(sum_by(rate(metrics.CONFIG_RELOADS.select()), "result"), "{{result}}"),
            Query(metrics.CONFIG_NEEDS_RESTART.select(), "{{instance}} settings that need a restart"),
        ),
        timeseries(
            "Age of the configuration", Query(f"time() - {metrics.CONFIG_LOADED.select()}", "{{instance}}"), unit="s"
        ),
        timeseries("Memory", Query(metrics.PROXY_MEMORY.select(), "{{instance}}"), unit="bytes"),
        timeseries("CPU", Query(rate(metrics.PROXY_CPU.select()), "{{instance}}"), unit="percentunit"),
        timeseries("Open files", Query(metrics.PROXY_FILES.select(), "{{instance}}")),
    )
