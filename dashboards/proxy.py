"""The proxy from inside: forwarding, limits, the journal, the backends, and what the process uses."""

from collections.abc import Sequence

from dashboards import recording as rec
from dashboards import sources as at
from dashboards.panels import Json, Panel, Query, dashboard, heading, timeseries, variable
from dashboards.promql import quantile, rate, ratio, total


def build() -> Json:
    """The whole dashboard."""
    panels = (
        heading("Forwarding"),
        *_forwarding(),
        heading("Backends"),
        *_backends(),
        heading("Journal"),
        *_journal(),
        heading("Rollout and process"),
        *_process(),
    )
    routes = variable("route", "Route", f"label_values({at.REQUESTS.of()}, route)")
    about = "What clients get, what backends give, what the journal takes."
    return dashboard("shadow-proxy", "Shadow: proxy", about, panels, [routes])


def _forwarding() -> Sequence[Panel]:
    requests = at.REQUESTS.of(route="=~$route")
    seconds = at.SERVED_SECONDS.bucket(route="=~$route")
    return (
        timeseries("Requests", Query(total(rate(requests), "route", "side"), "{{route}} {{side}}"), unit="reqps"),
        timeseries(
            "Latency, p95",
            Query(quantile(0.95, total(rate(seconds), "route", "side", "le")), "{{route}} {{side}}"),
            unit="s",
        ),
        timeseries(
            "Errors (5xx), share",
            Query(
                ratio(
                    total(rate(at.REQUESTS.of(route="=~$route", status="=~5..")), "route", "side"),
                    total(rate(requests), "route", "side"),
                ),
                "{{route}} {{side}}",
            ),
            unit="percentunit",
        ),
        timeseries(
            "Refused by the proxy itself",
            Query(total(rate(at.REFUSED.of()), "status"), "{{status}}"),
            unit="reqps",
            about="Limits (408, 413, 414, 431, 503), requests that are none (400), backends that gave no response (502, 504).",
        ),
        timeseries("Being served", Query(at.SERVING.of(), "{{instance}}")),
        timeseries("Connections of clients", Query(at.CLIENT_CONNECTIONS.of(), "{{instance}}")),
        timeseries(
            "Heads read",
            Query(total(rate(at.HEADS.of()), "message", "how"), "{{message}} {{how}}"),
            unit="reqps",
            about="Recognised by their shape, or parsed, which costs more: many are parsed while a client sends ever new fields.",
        ),
    )


def _backends() -> Sequence[Panel]:
    return (
        timeseries(
            "No response",
            Query(total(rate(at.BACKEND_FAILURES.of()), "side", "cause"), "{{side}} {{cause}}"),
            unit="reqps",
        ),
        timeseries(
            "Connections to backends", Query(total(at.BACKEND_CONNECTIONS.of(), "side"), "{{side}}"), about="Open ones."
        ),
        timeseries(
            "Sent again, answered by the other side",
            Query(total(rate(at.BACKEND_RETRIES.of())), "sent again on a new connection"),
            Query(total(rate(at.FALLBACKS.of()), "side"), "{{side}} answered instead"),
            unit="reqps",
        ),
        timeseries(
            "Fit",
            Query(at.BACKEND_HEALTHY.of(), "{{side}} healthy, {{instance}}"),
            Query(at.BACKEND_EJECTED.of(), "{{side}} ejected, {{instance}}"),
            about="Healthy: by the check of its path. Ejected: spared because it failed requests.",
        ),
        timeseries(
            "Checks failed, ejections",
            Query(total(rate(at.BACKEND_CHECKS.of(result="failed")), "side"), "{{side}} check failed"),
            Query(total(rate(at.BACKEND_EJECTIONS.of()), "side"), "{{side}} ejected"),
            unit="reqps",
        ),
    )


def _journal() -> Sequence[Panel]:
    return (
        timeseries("Written", Query(total(rate(at.JOURNAL_WRITTEN.of())), "exchanges"), unit="reqps"),
        timeseries("Written, bytes", Query(total(rate(at.JOURNAL_BYTES.of())), "bytes"), unit="Bps"),
        timeseries("Queued", Query(at.JOURNAL_QUEUED.of(), "{{instance}}"), about="Waiting for the disk."),
        timeseries(
            "Lost",
            Query(total(rate(at.JOURNAL_DROPPED.of()), "cause"), "{{cause}}"),
            Query(total(rate(at.JOURNAL_UNREAD_DELETED.of())), "deleted unread"),
            unit="reqps",
        ),
        timeseries("Cut from torn tails", Query(at.JOURNAL_TORN_BYTES.of(), "{{instance}}"), unit="bytes"),
        timeseries(
            "Not journaled by policy; overlapped",
            Query(total(rate(at.NOT_JOURNALED.of()), "cause"), "{{cause}}"),
            Query(total(rate(at.OVERLAPPED.of())), "overlapped"),
            unit="reqps",
            about="Overlapped exchanges are journaled; another with the same key was in flight.",
        ),
        timeseries(
            "In no count", Query(rec.PROXY_GAP.of(), "{{instance}}"), about="Must be 0: served less all its counts."
        ),
    )


def _process() -> Sequence[Panel]:
    return (
        timeseries("Share of the candidate", Query(at.CANDIDATE_SHARE.of(), "{{instance}}"), unit="percentunit"),
        timeseries("Rolled back", Query(at.ROLLED_BACK.of(), "{{instance}}")),
        timeseries(
            "Workers started again",
            Query(at.WORKER_RESTARTS.of(), "{{instance}}"),
            Query(at.WORKER_LOST_REQUESTS.of(), "{{instance}} requests lost"),
            Query(at.WORKER_LOST_COPIES.of(), "{{instance}} copies lost"),
            about="What was in flight, and waited for the disk, when a worker died.",
        ),
        timeseries(
            "Settings",
            Query(total(rate(at.CONFIG_RELOADS.of()), "result"), "reloads {{result}}"),
            Query(at.CONFIG_NEEDS_RESTART.of(), "{{instance}} settings that need a restart"),
        ),
        timeseries(
            "Age of the settings in force", Query(f"time() - {at.CONFIG_LOADED.of()}", "{{instance}}"), unit="s"
        ),
        timeseries("Memory", Query(at.PROXY_MEMORY.of(), "{{instance}}"), unit="bytes"),
        timeseries("CPU", Query(rate(at.PROXY_CPU.of()), "{{instance}}"), unit="percentunit"),
        timeseries("Open files", Query(at.PROXY_FILES.of(), "{{instance}}")),
    )
