"""When somebody must look, and when the candidate must stop serving.

An alert with an action carries the label that the proxy's Alertmanager webhook obeys: `rollback` lets the legacy serve everybody,
`pause` keeps the step. Only what speaks against a candidate that serves rolls back: its errors, its latency, its memory, the rows
and points it writes. What speaks against the measurement pauses, because a rollout must not go on blind.

Source of the rollback triggers and of their limits: the migration plan's immediate rollback triggers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from dashboards import recording as rec
from dashboards import sources as at
from dashboards.promql import happened, increase, largest, rate, total

ERROR_INCREASE_MAX: Final = 0.001
MEMORY_MAX_BYTES: Final = 512 * 1024**2
MISMATCH_RATE_MAX: Final = 0.001
COMPARED_SHARE_MIN: Final = 0.8
LAG_MAX_S: Final = 60
REQUESTS_MIN: Final = 100
"""Requests of a side within the window; fewer say nothing about a share or a quantile."""
HANDED_OVER_SLACK: Final = 100
"""Exchanges by which the counts of two processes may differ because they are not scraped at the same moment."""
SCRAPE_SKEW_S: Final = 30
ROW_KINDS: Final = "missing_row|extra_row|column|late|truncated_table"
POINTS_TABLES: Final = "registry_humanpoints|registry_humanpointscommunityqualifiedusers"


class Severity(StrEnum):
    """`page`: act now. `warning`: act in working hours."""

    PAGE = "page"
    WARNING = "warning"


class Action(StrEnum):
    """What the proxy does by itself when it is told of the alert."""

    NONE = ""
    PAUSE = "pause"
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert. `lasting`: how long the expression must hold. `do`: the first step of whoever is called."""

    name: str
    expression: str
    lasting: str
    severity: Severity
    summary: str
    do: str
    action: Action = Action.NONE


def _serving(expression: str) -> str:
    """Only while clients are served by the candidate."""
    return f"({expression}) and on () ({largest(at.CANDIDATE_SHARE.of())} > 0)"


def _enough(series: rec.Recorded, side: str) -> str:
    return f"on () ({series.of(side=side)} >= {REQUESTS_MIN})"


_CANDIDATE_ERRORS: Final = f"sum({rec.ERROR_RATIO.of(side='candidate')})"
_BASELINE: Final = (
    f"(sum({rec.ERROR_RATIO.of(side='legacy')} and {_enough(rec.SERVED_COUNT, 'legacy')})"
    f" or sum({rec.ERROR_RATIO.of(side='candidate')} offset 1d) or vector(0))"
)
"""The legacy's errors; while it serves too few, the candidate's own of a day ago; else none."""


_MEMORY: Final = f"{at.CANDIDATE_MEMORY.of()} > {MEMORY_MAX_BYTES}"


def _slower(candidate: rec.Recorded, legacy: rec.Recorded, counts: tuple[rec.Recorded, rec.Recorded]) -> str:
    return (
        f"(sum({candidate.of(side='candidate')}) > sum({legacy.of(side='legacy')}))"
        f" and {_enough(counts[0], 'candidate')} and {_enough(counts[1], 'legacy')}"
    )


CANDIDATE: Final = (
    Alert(
        "ShadowCandidateErrors",
        f"({_CANDIDATE_ERRORS} - {_BASELINE} > {ERROR_INCREASE_MAX}) and {_enough(rec.SERVED_COUNT, 'candidate')}",
        "1m",
        Severity.PAGE,
        "The candidate answers {{ $value | humanizePercentage }} more requests with 5xx than before.",
        "Look at the candidate's log and at 'Backends' of the proxy's dashboard; the rollback has happened or is one command.",
        Action.ROLLBACK,
    ),
    Alert(
        "ShadowCandidateSlower",
        _slower(rec.SERVED_P95, rec.SERVED_P95, (rec.SERVED_COUNT, rec.SERVED_COUNT)),
        "5m",
        Severity.PAGE,
        "The candidate serves with a p95 of {{ $value | humanizeDuration }}, above the legacy's.",
        "Look at the pipeline's stages on the scorer's dashboard.",
        Action.ROLLBACK,
    ),
    Alert(
        "ShadowCandidateSlowerThanMirror",
        f"{_slower(rec.SERVED_P95, rec.MIRRORED_P95, (rec.SERVED_COUNT, rec.MIRRORED_COUNT))}"
        f" unless {_enough(rec.SERVED_COUNT, 'legacy')}",
        "10m",
        Severity.WARNING,
        "The candidate serves with a p95 of {{ $value | humanizeDuration }}, above that of the mirrored legacy.",
        "A served and a mirrored request run under different conditions: compare within one role before deciding.",
    ),
    Alert(
        "ShadowCandidateMemory",
        _serving(_MEMORY),
        "2m",
        Severity.PAGE,
        "{{ $labels.instance }} holds {{ $value | humanize1024 }}B of memory; 512 MiB are allowed.",
        "Look at the memory and the proof cache on the scorer's dashboard; restart the instance.",
        Action.ROLLBACK,
    ),
    Alert(
        "ShadowCandidateMemoryMirroring",
        f"({_MEMORY}) unless on () ({largest(at.CANDIDATE_SHARE.of())} > 0)",
        "2m",
        Severity.WARNING,
        "{{ $labels.instance }} holds {{ $value | humanize1024 }}B of memory and serves nobody yet.",
        "Find out why before the candidate serves: it would be rolled back.",
    ),
    Alert(
        "ShadowRowsDiffer",
        _serving(f"{total(happened(at.DIFFERENCES.of(kind=f'=~{ROW_KINDS}'), '10m'), 'route')} >= 3"),
        "0m",
        Severity.PAGE,
        "The sides commit different rows on {{ $labels.route }} while the candidate serves.",
        "Open the findings of kind row or column; the examples hold both sides' rows.",
        Action.ROLLBACK,
    ),
    Alert(
        "ShadowPointsDiffer",
        _serving(f"{total(happened(at.ROW_DIFFERENCES.of(table=f'=~{POINTS_TABLES}'), '10m'), 'table')} > 0"),
        "0m",
        Severity.PAGE,
        "The sides award different human points ({{ $labels.table }}) while the candidate serves.",
        "Open the findings of the table; correct the points that the candidate wrote after the rollback.",
        Action.ROLLBACK,
    ),
    Alert(
        "ShadowMatchRateLow",
        f"({rec.MATCH_RATE_BY_ROUTE.of()} < {1 - MISMATCH_RATE_MAX})"
        f" and ({rec.COMPARED_BY_ROUTE.of()} >= {REQUESTS_MIN})",
        "5m",
        Severity.PAGE,
        "Only {{ $value | humanizePercentage }} of the comparisons on {{ $labels.route }} match.",
        "Open the findings, the most frequent first.",
        Action.PAUSE,
    ),
    Alert(
        "ShadowMismatch",
        happened(at.COMPARED.of(verdict="mismatch"), "10m"),
        "0m",
        Severity.WARNING,
        "{{ $labels.route }} has mismatches.",
        "Open the findings: fix it, or declare it as a known difference with its reason.",
    ),
)

MEASUREMENT: Final = (
    Alert(
        "ShadowAccountingGap",
        f"abs({rec.PROXY_GAP.of()}) > 0",
        "2m",
        Severity.PAGE,
        "{{ $value }} exchanges of {{ $labels.instance }} are in no count.",
        "Served must be written + queued + dropped + skipped. Take no decision from match rates until it is.",
        Action.PAUSE,
    ),
    Alert(
        "ShadowOutcomesExceedExchanges",
        f"{at.IN_FLIGHT.of()} < 0",
        "2m",
        Severity.PAGE,
        "{{ $labels.instance }} has counted more outcomes than exchanges.",
        "Take no decision from match rates; look for duplicate_id among the skipped.",
        Action.PAUSE,
    ),
    Alert(
        "ShadowHandedOverGap",
        f"(abs({rec.HANDED_OVER_GAP.of()} - {rec.HANDED_OVER_GAP.of()} offset 30m)"
        f" > {HANDED_OVER_SLACK} + {SCRAPE_SKEW_S} * {total(rate(at.JOURNAL_WRITTEN.of(), rec.WINDOW))})"
        f" unless (sum(resets({at.JOURNAL_WRITTEN.of()}[1h])) + sum(resets({at.READ.of()}[1h])) > 0)",
        "5m",
        Severity.WARNING,
        "What the proxies wrote and what the runner knows of drift apart by {{ $value }} exchanges.",
        "Does the runner read the directory that the proxies write? Look at its log for lost segments.",
    ),
    Alert(
        "ShadowJournalDrops",
        f"{total(increase(at.JOURNAL_DROPPED.of(), '5m'), 'instance', 'cause')} > 0",
        "0m",
        Severity.PAGE,
        "{{ $labels.instance }} loses copies: {{ $labels.cause }}.",
        "disk_full, disk_error: free the disk. queue_full: the disk is too slow. Clients are not affected.",
        Action.PAUSE,
    ),
    Alert(
        "ShadowJournalUnreadDeleted",
        f"{increase(at.JOURNAL_UNREAD_DELETED.of(), '15m')} > 0",
        "0m",
        Severity.PAGE,
        "{{ $labels.instance }} deleted exchanges that no runner had read.",
        "The runner is down or too slow, or journal.retention.disk_max_bytes is too small.",
        Action.PAUSE,
    ),
    Alert(
        "ShadowExchangesLost",
        happened(at.DROPPED.of(), "15m"),
        "0m",
        Severity.WARNING,
        "{{ $labels.instance }} could not read exchanges: {{ $labels.cause }}.",
        "A segment was deleted or damaged before it was read.",
    ),
    Alert(
        "ShadowLag",
        f"{at.LAG.of()} > {LAG_MAX_S}",
        "5m",
        Severity.WARNING,
        "The oldest exchange without an outcome is {{ $value | humanizeDuration }} old.",
        "Is the mirrored side slow, the store away, a resync pending? Raise runner.concurrency.",
    ),
    Alert(
        "ShadowNothingCompared",
        f"({total(rate(at.SERVED.of(), '10m'))} > 0) unless on () ({total(rate(at.COMPARED.of(), '10m'))} > 0)",
        "10m",
        Severity.PAGE,
        "Clients are served and nothing is compared.",
        "Look at the causes of skipped, failed and dropped on the overview.",
        Action.PAUSE,
    ),
    Alert(
        "ShadowComparedShareLow",
        f"({rec.COMPARED_SHARE.of()} < {COMPARED_SHARE_MIN}) and ({rec.COMPARED.of()} >= {REQUESTS_MIN})",
        "15m",
        Severity.WARNING,
        "Only {{ $value | humanizePercentage }} of what was read is compared.",
        "The match rate speaks for that share only: look at the causes of skipped and failed.",
    ),
    Alert(
        "ShadowDrift",
        f"{increase(at.DRIFTED_ROWS.of(), '15m')} > 0",
        "0m",
        Severity.WARNING,
        "Rows of the shadow were not as they had to be.",
        "Somebody else writes the shadow, or a captured table has no full replica identity.",
    ),
    Alert(
        "ShadowStrays",
        f"{increase(at.STRAYS.of(), '15m')} > 0",
        "0m",
        Severity.WARNING,
        "Transactions were committed to the shadow that no mirrored request made.",
        "Find who else writes the shadow: a cron job, a worker, a person.",
    ),
    Alert(
        "ShadowCaptureInterrupted",
        happened(at.RESYNCS.of(reason="=~interrupted|capture_lost"), "15m"),
        "0m",
        Severity.WARNING,
        "The capture of committed changes was interrupted; the shadow was resynced.",
        "Look at the databases' log for a cut replication connection. What ran meanwhile was not compared.",
    ),
    Alert(
        "ShadowResyncPending",
        f"{at.RESYNC_PENDING.of()} > 0",
        "15m",
        Severity.PAGE,
        "The shadow has been waiting for a resync for a quarter of an hour; nothing is compared.",
        "Look at the runner's log: shadow_step_repeated says which database does not answer.",
        Action.PAUSE,
    ),
    Alert(
        "ShadowStoreAway",
        happened(at.RUNNER_RETRIES.of(what="store"), "5m"),
        "5m",
        Severity.WARNING,
        "The store takes no verdicts; they wait in the journal.",
        "Is the database of databases.store up?",
    ),
    Alert(
        "ShadowRunnerErrors",
        happened(at.RUNNER_ERRORS.of(), "15m"),
        "0m",
        Severity.WARNING,
        "The runner survived an error in {{ $labels.place }}.",
        "Its log has the traceback.",
    ),
    Alert(
        "ShadowRulesRefused",
        happened(at.RULES_RELOADS.of(result="refused"), "15m"),
        "0m",
        Severity.WARNING,
        "New comparison rules make no sense; the old ones stay in force.",
        "`shadow rules test` names the place.",
    ),
)

PROCESSES: Final = (
    Alert(
        "ShadowProxyDown",
        f"({at.up(at.PROXY_JOB).of()} == 0) or absent({at.up(at.PROXY_JOB).of()})",
        "1m",
        Severity.PAGE,
        "A proxy does not answer: clients may not be served.",
        "Is the process up? A load balancer may send clients to the legacy directly.",
    ),
    Alert(
        "ShadowRunnerDown",
        f"({at.up(at.RUNNER_JOB).of()} == 0) or absent({at.up(at.RUNNER_JOB).of()})",
        "2m",
        Severity.PAGE,
        "The runner does not answer: nothing is compared; the journal keeps the exchanges.",
        "Start it again; it resumes at its committed place.",
        Action.PAUSE,
    ),
    Alert(
        "ShadowCandidateDown",
        f"{at.up(at.CANDIDATE_JOB).of()} == 0",
        "1m",
        Severity.PAGE,
        "The candidate's instance {{ $labels.instance }} does not answer.",
        "If it serves clients, roll back; then look at its log.",
    ),
    Alert(
        "ShadowBackendEjected",
        f"{at.BACKEND_EJECTED.of()} == 1",
        "30s",
        Severity.PAGE,
        "{{ $labels.instance }} spares the {{ $labels.side }}: it fails clients' requests.",
        "Is the {{ $labels.side }}'s live instance up? With serve.fall_back the other side answers safe requests; roll back if it"
        " is the candidate.",
    ),
    Alert(
        "ShadowBackendUnhealthy",
        f"{at.BACKEND_HEALTHY.of()} == 0",
        "2m",
        Severity.WARNING,
        "The health check of the {{ $labels.side }} fails at {{ $labels.instance }}.",
        "Clients are served as long as requests succeed: is it the service, or the check's path?",
    ),
    Alert(
        "ShadowConfigRefused",
        happened(at.CONFIG_RELOADS.of(result="refused"), "15m"),
        "0m",
        Severity.WARNING,
        "{{ $labels.instance }} refused its new configuration; the old one stays in force.",
        "`shadow proxy --check` names the place.",
    ),
    Alert(
        "ShadowProxyRestarted",
        f"{increase(at.WORKER_RESTARTS.of(), '15m')} > 0",
        "0m",
        Severity.WARNING,
        "A worker of the proxy died and was started again.",
        "Its log has the reason.",
    ),
    Alert(
        "ShadowRolledBack",
        f"{at.ROLLED_BACK.of()} == 1",
        "0m",
        Severity.WARNING,
        "{{ $labels.instance }} is rolled back: the legacy serves everybody until somebody resumes.",
        "`shadow status` says who or what did it and why; `shadow resume` ends it.",
    ),
    Alert(
        "ShadowProxiesDisagree",
        f"max({at.CANDIDATE_SHARE.of()}) - min({at.CANDIDATE_SHARE.of()}) > 0",
        "1m",
        Severity.PAGE,
        "Proxies serve different shares from the candidate.",
        "A proxy that cannot reach the store keeps its last plan: look at its log.",
    ),
)

GROUPS: Final[dict[str, Sequence[Alert]]] = {
    "shadow-candidate": CANDIDATE,
    "shadow-measurement": MEASUREMENT,
    "shadow-processes": PROCESSES,
}
