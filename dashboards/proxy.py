"""The proxy dashboard: forwarding, backends, the journal's write side, and resources of the process."""

from collections.abc import Sequence
from typing import Final

from dashboards import links
from dashboards import metric_catalog as metrics
from dashboards import recording_rules as recorded
from dashboards.dashboard import dashboard
from dashboards.links import BaseUrls, DashboardUid, RunbookSection, runbook
from dashboards.panels import Json, Panel, Query, section, timeseries
from dashboards.promql import quantile, rate, ratio, sum_by
from dashboards.variables import variable

ROUTE: Final = "=~$route"


def build(urls: BaseUrls) -> Json:
    """Build the dashboard."""
    panels = (
        section("Forwarding"),
        *_forwarding(),
        section("Backends"),
        *_backends(),
        section("Journal"),
        *_journal(),
        section("Configuration and process"),
        *_process(),
    )
    routes = variable("route", "Route", f"label_values({metrics.REQUESTS.select()}, route)")
    description = "Responses to clients, state of the backends, and exchanges written to the journal."
    return dashboard(DashboardUid.PROXY, "Shadow: proxy", description, panels, urls, [routes])


def _forwarding() -> Sequence[Panel]:
    requests = metrics.REQUESTS.select(route=ROUTE)
    seconds = metrics.SERVED_SECONDS.bucket(route=ROUTE)
    return (
        timeseries(
            "Requests",
            Query(sum_by(rate(requests), "route", "side"), "{{route}} {{side}}"),
            unit="reqps",
            description="Responses to clients, by route and side.",
            link=links.JOURNAL,
        ),
        timeseries(
            "Latency, p95",
            Query(quantile(0.95, sum_by(rate(seconds), "route", "side", "le")), "{{route}} {{side}}", exemplars=True),
            unit="s",
            description="95 % of the responses take at most this long, as the proxy measures it.",
            link=links.OVERVIEW,
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
            description="5xx / all responses, by route and side.",
            link=runbook(RunbookSection.ROLL_BACK),
        ),
        timeseries(
            "Responses of the proxy itself",
            Query(sum_by(rate(metrics.REFUSED.select()), "status"), "{{status}}"),
            unit="reqps",
            description="400: not a valid request. 408, 413, 414, 431, 503: a limit was exceeded. 502, 504: the backend gave no"
            " response.",
            link=runbook(RunbookSection.DOWN),
        ),
        timeseries(
            "Requests in flight",
            Query(metrics.PROXY_IN_FLIGHT.select(), "{{instance}}"),
            unit="short",
            description="Requests whose response has not ended yet.",
            link=links.OVERVIEW,
        ),
        timeseries(
            "Client connections",
            Query(metrics.CLIENT_CONNECTIONS.select(), "{{instance}}"),
            unit="short",
            description="Open connections of clients, idle ones included; `listen` limits them.",
            link=links.CONFIGURATION,
        ),
        timeseries(
            "Message heads, cached or parsed",
            Query(sum_by(rate(metrics.HEAD_LOOKUPS.select()), "message", "result"), "{{message}} {{result}}"),
            unit="reqps",
            description="Heads found in the head cache are not parsed, which saves CPU. Many are parsed while clients send header"
            " fields that were not seen before.",
            link=links.CONFIGURATION,
        ),
    )


def _backends() -> Sequence[Panel]:
    return (
        timeseries(
            "Requests without a response",
            Query(sum_by(rate(metrics.BACKEND_FAILURES.select()), "side", "cause"), "{{side}} {{cause}}"),
            unit="reqps",
            description="Attempts at a backend that gave no response, by cause.",
            link=runbook(RunbookSection.ROLL_BACK),
        ),
        timeseries(
            "Connections to backends",
            Query(sum_by(metrics.BACKEND_CONNECTIONS.select(), "side"), "{{side}}"),
            unit="short",
            description="Open connections to the backends, idle ones included.",
            link=links.CONFIGURATION,
        ),
        timeseries(
            "Retries and fallbacks",
            Query(sum_by(rate(metrics.BACKEND_RETRIES.select())), "retried on a new connection"),
            Query(sum_by(rate(metrics.FALLBACKS.select()), "side"), "answered by {{side}} instead"),
            unit="reqps",
            description="Requests sent once more on a new connection, and those that the other side answered instead.",
            link=runbook(RunbookSection.ROLL_BACK),
        ),
        timeseries(
            "Healthy and ejected backends",
            Query(metrics.BACKEND_HEALTHY.select(), "{{side}} healthy, {{instance}}"),
            Query(metrics.BACKEND_EJECTED.select(), "{{side}} ejected, {{instance}}"),
            description="Healthy: the health check succeeds. Ejected: clients' requests failed, so that the other side is preferred.",
            unit="short",
            link=runbook(RunbookSection.ROLL_BACK),
        ),
        timeseries(
            "Failed health checks and ejections",
            Query(sum_by(rate(metrics.BACKEND_CHECKS.select(result="failed")), "side"), "{{side}} check failed"),
            Query(sum_by(rate(metrics.BACKEND_EJECTIONS.select()), "side"), "{{side}} ejected"),
            unit="reqps",
            description="Health checks that failed, and ejections after failed requests of clients.",
            link=runbook(RunbookSection.ROLL_BACK),
        ),
    )


def _journal() -> Sequence[Panel]:
    return (
        timeseries(
            "Exchanges written",
            Query(sum_by(rate(metrics.JOURNAL_WRITTEN.select())), "exchanges"),
            unit="reqps",
            description="Exchanges written to the journal.",
            link=links.OVERVIEW,
        ),
        timeseries(
            "Bytes written",
            Query(sum_by(rate(metrics.JOURNAL_BYTES.select())), "bytes"),
            unit="Bps",
            description="Bytes written to the journal, compressed and sealed.",
            link=links.CONFIGURATION,
        ),
        timeseries(
            "Exchanges queued",
            Query(metrics.JOURNAL_QUEUED.select(), "{{instance}}"),
            description="Served and not yet written to disk.",
            unit="short",
            link=links.OVERVIEW,
        ),
        timeseries(
            "Exchanges lost",
            Query(sum_by(rate(metrics.JOURNAL_DROPPED.select()), "cause"), "{{cause}}"),
            Query(sum_by(rate(metrics.JOURNAL_UNREAD_DELETED.select())), "deleted unread"),
            unit="reqps",
            description="Dropped before they were written, by cause, and deleted before a runner had read them.",
            link=runbook(RunbookSection.SKIPPED),
        ),
        timeseries(
            "Exchanges lost, by route",
            Query(sum_by(rate(metrics.ROUTE_DROPPED.select()), "route"), "{{route}}"),
            unit="reqps",
            description="What the gate on coverage counts as not compared.",
            link=runbook(RunbookSection.SKIPPED),
        ),
        timeseries(
            "Spool of a shared journal",
            Query(metrics.SPOOL_BYTES.select(), "{{instance}}"),
            unit="bytes",
            description="Segments on the machine: not shipped, or not committed by every reader, or kept by the retention.",
            link=runbook(RunbookSection.SHARED_JOURNAL),
        ),
        timeseries(
            "Spool: not shipped",
            Query(metrics.SPOOL_UNSHIPPED.select(), "{{instance}}"),
            Query(metrics.SHIPPER_PAUSED.select(), "writers paused, {{instance}}"),
            description="Exchanges that the broker was not given yet. Paused: the slowest reader is too far behind.",
            unit="short",
            link=runbook(RunbookSection.SHARED_JOURNAL),
        ),
        timeseries(
            "Spool: age of the oldest that is not shipped",
            Query(metrics.SPOOL_AGE.select(), "{{instance}}"),
            unit="s",
            description="How long the oldest exchange waits for the broker.",
            link=runbook(RunbookSection.SHARED_JOURNAL),
        ),
        timeseries(
            "Shipper",
            Query(metrics.SHIPPER_UP.select(), "ships, {{instance}}"),
            Query(rate(metrics.SHIPPER_RESTARTS.select()), "broker had lost it, {{instance}}"),
            description="0: the shipper does not run, or the broker does not take what it ships.",
            unit="short",
            link=runbook(RunbookSection.SHARED_JOURNAL),
        ),
        timeseries(
            "Bytes truncated at start",
            Query(metrics.JOURNAL_TORN_BYTES.select(), "{{instance}}"),
            unit="bytes",
            description="Incomplete frames at the end of a segment, left by a crash.",
            link=runbook(RunbookSection.SKIPPED),
        ),
        timeseries(
            "Not journaled, and overlapped",
            Query(sum_by(rate(metrics.PROXY_SKIPPED.select()), "cause"), "not journaled: {{cause}}"),
            Query(sum_by(rate(metrics.OVERLAPPED.select())), "overlapped"),
            unit="reqps",
            description="Overlapped exchanges are journaled; another exchange with the same ordering key was in flight.",
            link=runbook(RunbookSection.SKIPPED),
        ),
        timeseries(
            "Not accounted for",
            Query(recorded.PROXY_GAP.select(), "{{instance}}"),
            description="Served - (written + queued + dropped + skipped). Must be 0.",
            unit="short",
            link=runbook(RunbookSection.SKIPPED),
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
            unit="short",
            link=runbook(RunbookSection.MESSAGES),
        ),
        timeseries(
            "Configuration reloads",
            Query(sum_by(rate(metrics.CONFIG_RELOADS.select()), "instance", "result"), "{{instance}} {{result}}"),
            Query(metrics.CONFIG_NEEDS_RESTART.select(), "{{instance}} settings that need a restart"),
            unit="short",
            description="Reloads of config.yaml by result, and the settings that differ and need a restart.",
            link=links.CONFIGURATION,
        ),
        timeseries(
            "Age of the configuration",
            Query(f"time() - {metrics.CONFIG_LOADED.select()}", "{{instance}}"),
            unit="s",
            description="Time since the process took its settings. A process that refuses the changed file keeps its age.",
            link=links.CONFIGURATION,
        ),
        timeseries(
            "Memory",
            Query(metrics.PROXY_MEMORY.select(), "{{instance}}"),
            unit="bytes",
            description="Resident memory of the process.",
            link=links.CONFIGURATION,
        ),
        timeseries(
            "CPU",
            Query(rate(metrics.PROXY_CPU.select()), "{{instance}}"),
            unit="percentunit",
            description="1 is a whole core.",
            link=links.CONFIGURATION,
        ),
        timeseries(
            "Open files",
            Query(metrics.PROXY_FILES.select(), "{{instance}}"),
            unit="short",
            description="Descriptors, connections included.",
            link=links.CONFIGURATION,
        ),
    )
