"""Prometheus' alerting rules: when an operator must look, and when the candidate must stop serving.

An alert with an action carries the label that the proxy's Alertmanager webhook obeys: `rollback` serves every client from the
legacy, `pause` keeps the current step. Only evidence against a candidate that serves clients rolls back: its errors, its latency,
its memory, the rows and points that it writes. Evidence against the measurement pauses, because a rollout must not advance blind.

Where a gate judges the same figure, the alert takes the limit that the gate has: the proxies export `rollout.gates`
(`shadow_rollout_gate_setting`). Every condition holds within one installation.

Source of the rollback triggers: the migration plan's immediate rollback triggers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from dashboards import metric_catalog as metrics
from dashboards import recording_rules as recorded
from dashboards.links import DashboardUid, RunbookSection
from dashboards.promql import (
    INSTALLATION,
    increase,
    increased,
    max_by,
    per_installation,
    rate,
    spread_by,
    sum_by,
)

LAG_MAX_S: Final = 60
SPOOL_AGE_MAX_S: Final = 120
CLOCK_AHEAD_MAX_S: Final = 0.1
LOG_RETAINED_MAX_BYTES: Final = 1024**3
REQUESTS_MIN: Final = 100
"""Requests of a side within the window below which a share or a quantile is not significant."""
JOURNAL_RUNNER_SLACK: Final = 100
"""Exchanges by which the counts of proxy and runner may differ because the two are not scraped at the same moment."""
SCRAPE_SKEW_S: Final = 30
ROW_KINDS: Final = "missing_row|extra_row|column|late|truncated_table"
POINTS_TABLES: Final = "registry_humanpoints|registry_humanpointscommunityqualifiedusers"


class AlertSeverity(StrEnum):
    """The urgency of an alert. `page`: act now. `warning`: act in working hours."""

    PAGE = "page"
    WARNING = "warning"


class RolloutAction(StrEnum):
    """The change that the proxy makes by itself when Alertmanager delivers the alert."""

    PAUSE = "pause"
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True)
class AlertRule:
    """One alerting rule.

    Attributes:
        name: as in notifications, beginning with `Shadow`.
        expression: the PromQL condition.
        hold_for: how long the condition must hold before the alert fires, as a PromQL duration.
        severity: how urgent it is.
        summary: what happened; a Go template over the series' labels and value.
        impact: what that means for clients and for the rollout.
        first_step: what the operator does first.
        runbook: the section of RUNBOOK.md with the commands.
        dashboard: the dashboard that shows the figure.
        action: the label for the proxy's webhook; None for an alert that only notifies.
    """

    name: str
    expression: str
    hold_for: str
    severity: AlertSeverity
    summary: str
    impact: str
    first_step: str
    runbook: RunbookSection
    dashboard: DashboardUid
    action: RolloutAction | None = None


WITHIN: Final = f"on ({INSTALLATION})"
CANDIDATE_SERVES: Final = f"{WITHIN} ({max_by(metrics.CANDIDATE_SHARE.select())} > 0)"


def gate_limit(setting: str) -> str:
    """Return the limit that the gates have, one value for each installation.

    Args:
        setting: its name below `rollout.gates`.
    """
    return max_by(metrics.ROLLOUT_GATE_SETTING.select(setting=setting))


def _while_candidate_serves(expression: str) -> str:
    return f"({expression}) and {CANDIDATE_SERVES}"


def _enough_requests(series: recorded.RecordingRule, side: str) -> str:
    return f"{WITHIN} ({series.select(side=side)} >= {REQUESTS_MIN})"


_CANDIDATE_ERRORS: Final = sum_by(recorded.ERROR_RATIO.select(side="candidate"))
_LEGACY_ERRORS: Final = (
    f"{recorded.ERROR_RATIO.select(side='legacy')} and {_enough_requests(recorded.SERVED_COUNT, 'legacy')}"
)
_BASELINE_ERRORS: Final = (
    f"({sum_by(_LEGACY_ERRORS)}"
    f" or {sum_by(recorded.ERROR_RATIO.select(side='candidate') + ' offset 1d')} or 0 * {_CANDIDATE_ERRORS})"
)
"""The legacy's error ratio; while it serves too few requests, the candidate's own ratio of a day ago; without either, 0."""


_MEMORY_HIGH: Final = f"{metrics.CANDIDATE_MEMORY.select()} {per_installation('>')} ({gate_limit('rss_max_bytes')} > 0)"
"""The setting 0 turns the gate off, and the alert too."""


def _candidate_slower(
    candidate: recorded.RecordingRule,
    legacy: recorded.RecordingRule,
    *,
    ratio_max: str,
    candidate_count: recorded.RecordingRule,
    legacy_count: recorded.RecordingRule,
) -> str:
    """Return the candidate's p95 where it exceeds the legacy's by more than a gate's ratio, with enough requests of both sides."""
    return (
        f"({sum_by(candidate.select(side='candidate'))}"
        f" > {sum_by(legacy.select(side='legacy'))} * {gate_limit(ratio_max)})"
        f" and {_enough_requests(candidate_count, 'candidate')} and {_enough_requests(legacy_count, 'legacy')}"
    )


_SLOWER_THAN_SERVED: Final = _candidate_slower(
    recorded.SERVED_P95,
    recorded.SERVED_P95,
    ratio_max="latency_ratio_max",
    candidate_count=recorded.SERVED_COUNT,
    legacy_count=recorded.SERVED_COUNT,
)
_SLOWER_THAN_MIRRORED: Final = _candidate_slower(
    recorded.SERVED_P95,
    recorded.MIRRORED_P95,
    ratio_max="latency_across_roles_max",
    candidate_count=recorded.SERVED_COUNT,
    legacy_count=recorded.MIRRORED_COUNT,
)

CANDIDATE: Final = (
    AlertRule(
        "ShadowCandidateErrors",
        f"({_CANDIDATE_ERRORS} - {_BASELINE_ERRORS} > {gate_limit('error_rate_increase_max')})"
        f" and {_enough_requests(recorded.SERVED_COUNT, 'candidate')}",
        hold_for="1m",
        severity=AlertSeverity.PAGE,
        summary="The candidate's rate of 5xx responses is {{ $value | humanizePercentage }} above the baseline.",
        impact="Clients served by the candidate get errors until the rollout is rolled back.",
        first_step="Make sure that the rollback happened (`shadow status`), then read the candidate's log.",
        runbook=RunbookSection.ROLL_BACK,
        dashboard=DashboardUid.OVERVIEW,
        action=RolloutAction.ROLLBACK,
    ),
    AlertRule(
        "ShadowCandidateSlower",
        _SLOWER_THAN_SERVED,
        hold_for="5m",
        severity=AlertSeverity.PAGE,
        summary="The candidate serves with a p95 of {{ $value | humanizeDuration }}, slower than the legacy by more than the gate allows.",
        impact="Clients served by the candidate wait longer than before.",
        first_step="Make sure that the rollback happened (`shadow status`), then find the slow pipeline stage on the scorer"
        " dashboard.",
        runbook=RunbookSection.ROLL_BACK,
        dashboard=DashboardUid.OVERVIEW,
        action=RolloutAction.ROLLBACK,
    ),
    AlertRule(
        "ShadowCandidateSlowerThanMirror",
        f"{_SLOWER_THAN_MIRRORED} unless {_enough_requests(recorded.SERVED_COUNT, 'legacy')}",
        hold_for="10m",
        severity=AlertSeverity.WARNING,
        summary="The candidate serves with a p95 of {{ $value | humanizeDuration }}, slower than the mirrored legacy by more than the gate allows.",
        impact="Clients may wait longer than before; it is uncertain, because served and mirrored requests run under different"
        " conditions.",
        first_step="Compare the candidate with its own latency of last week on the overview dashboard before you decide.",
        runbook=RunbookSection.PAUSE,
        dashboard=DashboardUid.OVERVIEW,
    ),
    AlertRule(
        "ShadowCandidateMemoryHigh",
        _while_candidate_serves(_MEMORY_HIGH),
        hold_for="2m",
        severity=AlertSeverity.PAGE,
        summary="{{ $labels.instance }} of the candidate uses {{ $value | humanize1024 }}B of memory, more than rollout.gates.rss_max_bytes.",
        impact="The candidate may be killed while it serves clients.",
        first_step="Make sure that the rollback happened (`shadow status`), then restart the instance and compare memory with the"
        " size of the proof cache on the scorer dashboard.",
        runbook=RunbookSection.ROLL_BACK,
        dashboard=DashboardUid.SCORER,
        action=RolloutAction.ROLLBACK,
    ),
    AlertRule(
        "ShadowMirrorMemoryHigh",
        f"({_MEMORY_HIGH}) unless {CANDIDATE_SERVES}",
        hold_for="2m",
        severity=AlertSeverity.WARNING,
        summary="{{ $labels.instance }} of the candidate uses {{ $value | humanize1024 }}B of memory, more than rollout.gates.rss_max_bytes.",
        impact="Clients are not affected: the candidate does not serve yet. Once it serves, this rolls it back.",
        first_step="Find the cause before the next step of the rollout; the scorer dashboard shows the size of the proof cache.",
        runbook=RunbookSection.PAUSE,
        dashboard=DashboardUid.SCORER,
    ),
    AlertRule(
        "ShadowRowsDiffer",
        _while_candidate_serves(
            f"{sum_by(increased(metrics.DIFFERENCES.select(kind=f'=~{ROW_KINDS}'), '10m'), 'route')} >= 3"
        ),
        hold_for="0m",
        severity=AlertSeverity.PAGE,
        summary="Candidate and legacy commit different rows on {{ $labels.route }}.",
        impact="The candidate serves clients and may have stored wrong data for them.",
        first_step="Make sure that the rollback happened (`shadow status`), then open the causes (`shadow causes list`): their"
        " examples hold the rows of both sides.",
        runbook=RunbookSection.ROLLED_BACK,
        dashboard=DashboardUid.COMPARISON,
        action=RolloutAction.ROLLBACK,
    ),
    AlertRule(
        "ShadowPointsDiffer",
        _while_candidate_serves(
            f"{sum_by(increased(metrics.ROW_DIFFERENCES.select(table=f'=~{POINTS_TABLES}'), '10m'), 'table')} > 0"
        ),
        hold_for="0m",
        severity=AlertSeverity.PAGE,
        summary="Candidate and legacy award different human points ({{ $labels.table }}).",
        impact="The candidate serves clients and may have stored wrong points for them.",
        first_step="Make sure that the rollback happened (`shadow status`), list the affected rows, and correct them.",
        runbook=RunbookSection.ROLLED_BACK,
        dashboard=DashboardUid.COMPARISON,
        action=RolloutAction.ROLLBACK,
    ),
    AlertRule(
        "ShadowMatchRateLow",
        f"({recorded.MATCH_RATE_BY_ROUTE.select()} {per_installation('<')} (1 - {gate_limit('mismatch_rate_max')}))"
        f" and ({recorded.COMPARED_BY_ROUTE.select()} >= {REQUESTS_MIN})",
        hold_for="5m",
        severity=AlertSeverity.PAGE,
        summary="Only {{ $value | humanizePercentage }} of the comparisons on {{ $labels.route }} match.",
        impact="Clients that the candidate serves on this route may get different responses. The rollout is paused.",
        first_step="Open the causes of the route (`shadow causes list --route`), the first one first.",
        runbook=RunbookSection.MESSAGES,
        dashboard=DashboardUid.COMPARISON,
        action=RolloutAction.PAUSE,
    ),
    AlertRule(
        "ShadowUnhandledCause",
        f"{max_by(metrics.CAUSES.select(state='=~new|regressed'), 'state')} > 0",
        hold_for="5m",
        severity=AlertSeverity.WARNING,
        summary="{{ $value }} causes of mismatches are {{ $labels.state }}.",
        impact="Clients that the candidate serves may get different responses, or different data is stored for them.",
        first_step="Open them (`shadow causes list`): fix each one, declare it as a known difference with its reason, or acknowledge it.",
        runbook=RunbookSection.MESSAGES,
        dashboard=DashboardUid.COMPARISON,
    ),
    AlertRule(
        "ShadowMismatch",
        f"{increased(metrics.COMPARED.select(verdict='mismatch'), '10m')} unless on (installation, instance) {metrics.CAUSES.select()}",
        hold_for="0m",
        severity=AlertSeverity.WARNING,
        summary="Candidate and legacy disagree on {{ $labels.route }}, and no store keeps the causes.",
        impact="Clients that the candidate serves on this route may get a different response.",
        first_step="Set databases.store, so that causes are kept and shown (`shadow causes list`).",
        runbook=RunbookSection.MESSAGES,
        dashboard=DashboardUid.COMPARISON,
    ),
)

MEASUREMENT: Final = (
    AlertRule(
        "ShadowAccountingGap",
        f"abs({recorded.PROXY_GAP.select()}) > 0",
        hold_for="2m",
        severity=AlertSeverity.PAGE,
        summary="{{ $value }} exchanges served by {{ $labels.instance }} are not accounted for.",
        impact="Clients are served. Match rates are not reliable, so the rollout is paused.",
        first_step="Keep the rollout paused; compare served with written + queued + dropped + skipped on the overview dashboard.",
        runbook=RunbookSection.PAUSE,
        dashboard=DashboardUid.OVERVIEW,
        action=RolloutAction.PAUSE,
    ),
    AlertRule(
        "ShadowExchangesMissing",
        f"{metrics.MISSING.select()} > 0",
        hold_for="1m",
        severity=AlertSeverity.PAGE,
        summary="{{ $value }} exchanges of writer {{ $labels.writer }} were read and have no outcome.",
        impact="Clients are served. Match rates are not reliable, so the rollout is paused.",
        first_step="`shadow status` names the exchanges by writer and number.",
        runbook=RunbookSection.SKIPPED,
        dashboard=DashboardUid.OVERVIEW,
        action=RolloutAction.PAUSE,
    ),
    AlertRule(
        "ShadowShippingFails",
        f"{metrics.SHIPPER_UP.select()} == 0",
        hold_for="2m",
        severity=AlertSeverity.PAGE,
        summary="The spool of {{ $labels.instance }} is not shipped to the broker.",
        impact="Clients are served, and nothing is lost while the spool holds. The runner does not see the requests of this machine.",
        first_step="`shadow journal ship --status` on that machine says why: the broker is away, full, or refuses the user.",
        runbook=RunbookSection.SHARED_JOURNAL,
        dashboard=DashboardUid.PROXY,
    ),
    AlertRule(
        "ShadowSpoolOld",
        f"{metrics.SPOOL_AGE.select()} > {SPOOL_AGE_MAX_S}",
        hold_for="5m",
        severity=AlertSeverity.WARNING,
        summary="The oldest exchange in the spool of {{ $labels.instance }} waits for {{ $value | humanizeDuration }}.",
        impact="Clients are served. The spool fills up; at its disk limit the oldest exchanges are deleted, and counted as lost.",
        first_step="`shadow journal ship --status`: paused means that the runner is too slow or stopped, anything else is the broker.",
        runbook=RunbookSection.SHARED_JOURNAL,
        dashboard=DashboardUid.PROXY,
    ),
    AlertRule(
        "ShadowWriterSilent",
        f"{metrics.WRITER_SILENT.select()} == 1",
        hold_for="2m",
        severity=AlertSeverity.WARNING,
        summary="The runner hears nothing of writer {{ $labels.writer }}.",
        impact="Its requests are served and kept in its spool; those of this time will be skipped as `late` when they arrive.",
        first_step="`shadow journal ship --status` names its machine. If it is gone for good: `shadow journal ship --forget-writer`.",
        runbook=RunbookSection.SHARED_JOURNAL,
        dashboard=DashboardUid.OVERVIEW,
    ),
    AlertRule(
        "ShadowWriterLosesExchanges",
        f"{increased(metrics.WRITER_LOST.select(), '10m')} > 0",
        hold_for="0m",
        severity=AlertSeverity.PAGE,
        summary="{{ $value }} exchanges of writer {{ $labels.writer }} were lost before the runner could read them.",
        impact="Clients were served. The lost exchanges are not compared, and are counted as dropped.",
        first_step="`shadow journal ship --status` and the spool's size: it deletes what is unread at `journal.retention.disk_max_bytes`.",
        runbook=RunbookSection.SHARED_JOURNAL,
        dashboard=DashboardUid.OVERVIEW,
    ),
    AlertRule(
        "ShadowWriterLags",
        f"{metrics.WRITER_LAG.select()} > {LAG_MAX_S} unless on (installation, instance, writer) {metrics.WRITER_SILENT.select()} == 1",
        hold_for="5m",
        severity=AlertSeverity.WARNING,
        summary="The runner is {{ $value | humanizeDuration }} behind writer {{ $labels.writer }}.",
        impact="Clients are served. Comparisons of this writer are late.",
        first_step="`shadow journal ship --status` shows whether the broker or the runner is behind.",
        runbook=RunbookSection.SHARED_JOURNAL,
        dashboard=DashboardUid.OVERVIEW,
    ),
    AlertRule(
        "ShadowBrokerDown",
        f"{metrics.BROKER_UP.select()} == 0 and on (installation, instance) {metrics.LEASE_HELD.select()} == 1",
        hold_for="2m",
        severity=AlertSeverity.PAGE,
        summary="The broker of the shared journal does not answer the runner {{ $labels.instance }}.",
        impact="Clients are served. Nothing is compared, and the spools of all machines fill up.",
        first_step="Start the broker again; it may be empty: what is not compared yet is shipped again from the spools.",
        runbook=RunbookSection.SHARED_JOURNAL,
        dashboard=DashboardUid.OVERVIEW,
    ),
    AlertRule(
        "ShadowLeaseNotHeld",
        f"{max_by(metrics.LEASE_HELD.select(), 'reader')} == 0",
        hold_for="2m",
        severity=AlertSeverity.PAGE,
        summary="Runners are up, and none of them holds the lease of {{ $labels.reader }} on the shared journal.",
        impact="Clients are served. Nothing is compared, so the rollout is paused.",
        first_step="`waits_for` in the runner's /status names the holder: end that process, or see why the store does not give the lease.",
        runbook=RunbookSection.SHARED_JOURNAL,
        dashboard=DashboardUid.OVERVIEW,
        action=RolloutAction.PAUSE,
    ),
    AlertRule(
        "ShadowSliceAway",
        f"{max_by(metrics.READER_AWAY.select(), 'reader')} == 1",
        hold_for="2m",
        severity=AlertSeverity.PAGE,
        summary="No runner works on the slice of {{ $labels.reader }}; perhaps none was ever started.",
        impact="Clients are served. The requests of its keys are not mirrored, and nothing is deleted from the spools, so the rollout is paused.",
        first_step="Start `shadow runner --slice NAME`; `shadow status` names the slice, its last runner and the exchanges that wait.",
        runbook=RunbookSection.SHARED_JOURNAL,
        dashboard=DashboardUid.OVERVIEW,
        action=RolloutAction.PAUSE,
    ),
    AlertRule(
        "ShadowJournalNotTrimmed",
        f"{increase(metrics.TRIM_FAILURES.select(), '5m')} > 0",
        hold_for="10m",
        severity=AlertSeverity.WARNING,
        summary="The runner {{ $labels.instance }} cannot delete from the broker what every reader has committed.",
        impact="Clients are served. The broker's memory and the spools fill up until shipping pauses.",
        first_step="`journal_not_trimmed` in the runner's log says why; most likely the store does not answer.",
        runbook=RunbookSection.SHARED_JOURNAL,
        dashboard=DashboardUid.OVERVIEW,
    ),
    AlertRule(
        "ShadowClocksDiffer",
        f"abs({metrics.WRITER_CLOCK_AHEAD.select()}) > {CLOCK_AHEAD_MAX_S}",
        hold_for="10m",
        severity=AlertSeverity.WARNING,
        summary="The clock of writer {{ $labels.writer }} differs from the broker's by {{ $value }} s.",
        impact="Clients are served. Requests of one key on two machines may be compared in the wrong order, or not attributed.",
        first_step="Synchronise the clocks of the machines; `runner.clock_skew_ms` has to cover what remains.",
        runbook=RunbookSection.SHARED_JOURNAL,
        dashboard=DashboardUid.OVERVIEW,
    ),
    AlertRule(
        "ShadowOutcomesExceedExchanges",
        f"{metrics.RUNNER_IN_FLIGHT.select()} < 0",
        hold_for="2m",
        severity=AlertSeverity.PAGE,
        summary="{{ $labels.instance }} has counted more outcomes than the journal has exchanges.",
        impact="Clients are served. Match rates are not reliable, so the rollout is paused.",
        first_step="Keep the rollout paused; look for `duplicate_id` among the causes of skipped exchanges.",
        runbook=RunbookSection.SKIPPED,
        dashboard=DashboardUid.OVERVIEW,
        action=RolloutAction.PAUSE,
    ),
    AlertRule(
        "ShadowJournalRunnerGap",
        f"(abs({recorded.JOURNAL_RUNNER_GAP.select()} - {recorded.JOURNAL_RUNNER_GAP.select()} offset 30m)"
        f" > {JOURNAL_RUNNER_SLACK} + {SCRAPE_SKEW_S} * {sum_by(rate(metrics.JOURNAL_WRITTEN.select(), recorded.WINDOW))})"
        f" unless ({sum_by(f'resets({metrics.JOURNAL_WRITTEN.select()}[1h])')}"
        f" + {sum_by(f'resets({metrics.READ.select()}[1h])')} > 0)",
        hold_for="5m",
        severity=AlertSeverity.WARNING,
        summary="In half an hour the counts of journal and runner have drifted apart by {{ $value }} exchanges.",
        impact="Clients are served. Some exchanges may never be compared.",
        first_step="Make sure that the runner reads the directory that the proxies write; look for lost segments in its log.",
        runbook=RunbookSection.SKIPPED,
        dashboard=DashboardUid.OVERVIEW,
    ),
    AlertRule(
        "ShadowJournalDrops",
        f"{sum_by(increase(metrics.JOURNAL_DROPPED.select(), '5m'), 'instance', 'cause')} > 0",
        hold_for="0m",
        severity=AlertSeverity.PAGE,
        summary="{{ $labels.instance }} cannot journal exchanges: {{ $labels.cause }}.",
        impact="Clients are served. The dropped exchanges are never compared, so the rollout is paused.",
        first_step="`disk_full`, `disk_error`: free or replace the disk. `queue_full`: the disk is too slow for the traffic.",
        runbook=RunbookSection.PAUSE,
        dashboard=DashboardUid.PROXY,
        action=RolloutAction.PAUSE,
    ),
    AlertRule(
        "ShadowJournalUnreadDeleted",
        f"{increase(metrics.JOURNAL_UNREAD_DELETED.select(), '15m')} > 0",
        hold_for="0m",
        severity=AlertSeverity.PAGE,
        summary="{{ $labels.instance }} deleted exchanges that no runner had read, to stay under its disk limit.",
        impact="Clients are served. The deleted exchanges are never compared, so the rollout is paused.",
        first_step="Start the runner if it is down, find out why it lags if it is up, or raise journal.retention.disk_max_bytes.",
        runbook=RunbookSection.DOWN,
        dashboard=DashboardUid.PROXY,
        action=RolloutAction.PAUSE,
    ),
    AlertRule(
        "ShadowExchangesLost",
        increased(metrics.DROPPED.select(), "15m"),
        hold_for="0m",
        severity=AlertSeverity.WARNING,
        summary="The runner {{ $labels.instance }} could not read exchanges from the journal: {{ $labels.cause }}.",
        impact="Clients are served. The lost exchanges are never compared.",
        first_step="A segment was deleted or damaged before it was read: `shadow journal verify` lists the damaged ones.",
        runbook=RunbookSection.DOWN,
        dashboard=DashboardUid.COMPARISON,
    ),
    AlertRule(
        "ShadowRunnerLag",
        f"{metrics.LAG.select()} > {LAG_MAX_S}",
        hold_for="5m",
        severity=AlertSeverity.WARNING,
        summary="The runner is {{ $value | humanizeDuration }} behind the clients' traffic.",
        impact="Clients are served. Gates and alerts see a regression that much later.",
        first_step="Look at the comparison dashboard: a slow mirrored side, an unavailable store or a pending resync. Otherwise raise"
        " runner.concurrency.",
        runbook=RunbookSection.DOWN,
        dashboard=DashboardUid.OVERVIEW,
    ),
    AlertRule(
        "ShadowCaptureLogRetained",
        f"{metrics.WAL_RETAINED.select()} > {LOG_RETAINED_MAX_BYTES}",
        hold_for="5m",
        severity=AlertSeverity.PAGE,
        summary="The database of the {{ $labels.role }} side keeps {{ $value | humanize1024 }}B of its log for the runner.",
        impact="Clients are served until the disk of that database is full; then live stops.",
        first_step="RUNBOOK, Exchanges are skipped: the slot. Let the runner catch up, or drop its slot.",
        runbook=RunbookSection.SKIPPED,
        dashboard=DashboardUid.OVERVIEW,
    ),
    AlertRule(
        "ShadowNothingCompared",
        f"({sum_by(rate(metrics.SERVED.select(), '10m'))} > 0)"
        f" unless ({sum_by(rate(metrics.COMPARED.select(), '10m'))} > 0)",
        hold_for="10m",
        severity=AlertSeverity.PAGE,
        summary="Clients are served, but no exchange has been compared for twenty minutes.",
        impact="Clients are served. A regression would go unnoticed, so the rollout is paused.",
        first_step="Look at the causes of skipped, failed and dropped exchanges on the overview dashboard.",
        runbook=RunbookSection.SKIPPED,
        dashboard=DashboardUid.OVERVIEW,
        action=RolloutAction.PAUSE,
    ),
    AlertRule(
        "ShadowComparedShareLow",
        f"({recorded.COMPARED_RATIO.select()} {per_installation('<')} {gate_limit('compared_share_min')})"
        f" and ({recorded.COMPARED.select()} >= {REQUESTS_MIN})",
        hold_for="15m",
        severity=AlertSeverity.WARNING,
        summary="Only {{ $value | humanizePercentage }} of the exchanges that the runner reads are compared.",
        impact="Clients are served. The match rate covers that share of the traffic only.",
        first_step="Look at the causes of skipped and failed exchanges on the comparison dashboard.",
        runbook=RunbookSection.SKIPPED,
        dashboard=DashboardUid.COMPARISON,
    ),
    AlertRule(
        "ShadowDriftedRows",
        f"{increase(metrics.DRIFTED_ROWS.select(), '15m')} > 0",
        hold_for="0m",
        severity=AlertSeverity.WARNING,
        summary="Rows of the shadow database differed from their expected state.",
        impact="Clients are not affected: live is not involved. The rows were corrected; mismatches of the last minutes may be false.",
        first_step="Find another writer to the shadow database, or a captured table without REPLICA IDENTITY FULL (`shadow capture"
        " check`).",
        runbook=RunbookSection.DRIFTED,
        dashboard=DashboardUid.COMPARISON,
    ),
    AlertRule(
        "ShadowStrayTransactions",
        f"{increase(metrics.STRAYS.select(), '15m')} > 0",
        hold_for="0m",
        severity=AlertSeverity.WARNING,
        summary="The shadow database has transactions that no mirrored request made.",
        impact="Clients are not affected: live is not involved. The transactions were undone; mismatches of the last minutes may be"
        " false.",
        first_step="Find out what else writes to the shadow database: a cron job, a worker, an operator.",
        runbook=RunbookSection.SKIPPED,
        dashboard=DashboardUid.COMPARISON,
    ),
    AlertRule(
        "ShadowSideUntagged",
        f"{metrics.SIDE_UNTAGGED.select()} > 0",
        hold_for="0m",
        severity=AlertSeverity.WARNING,
        summary="The {{ $labels.side }} ({{ $labels.role }}) does not name its requests in its transactions, as runner.tagged_sides says.",
        impact="Clients are served. Exchanges in which it writes are skipped (`untagged`), because their rows cannot be told from others'.",
        first_step="Find out whether its last deployment lost the message `shadow.request`; else take it out of runner.tagged_sides.",
        runbook=RunbookSection.SKIPPED,
        dashboard=DashboardUid.COMPARISON,
    ),
    AlertRule(
        "ShadowCaptureInterrupted",
        increased(metrics.RESYNCS.select(reason="=~interrupted|capture_lost"), "15m"),
        hold_for="0m",
        severity=AlertSeverity.WARNING,
        summary="The change data capture was interrupted; the shadow database was resynced from live.",
        impact="Clients are not affected. Exchanges served during the interruption were not compared.",
        first_step="Look for a terminated replication connection in the logs of both databases.",
        runbook=RunbookSection.DOWN,
        dashboard=DashboardUid.COMPARISON,
    ),
    AlertRule(
        "ShadowResyncPending",
        f"{metrics.RESYNC_PENDING.select()} > 0",
        hold_for="15m",
        severity=AlertSeverity.PAGE,
        summary="The shadow database has been waiting for a resync for 15 minutes.",
        impact="Clients are served. Nothing is compared until the resync is done, so the rollout is paused.",
        first_step="Read the runner's log: it names the database that does not respond.",
        runbook=RunbookSection.DOWN,
        dashboard=DashboardUid.COMPARISON,
        action=RolloutAction.PAUSE,
    ),
    AlertRule(
        "ShadowSchemaDiffers",
        f"{max_by(metrics.SCHEMA_DIFFERS.select(), 'table')} > 0",
        hold_for="15m",
        severity=AlertSeverity.WARNING,
        summary="For 15 minutes live and the shadow have defined the table {{ $labels.table }} differently.",
        impact="Clients are served. Exchanges that write the table are not compared; all others are.",
        first_step="`shadow status` names the columns: finish the migration on both databases.",
        runbook=RunbookSection.MIGRATION,
        dashboard=DashboardUid.COMPARISON,
    ),
    AlertRule(
        "ShadowStoreUnavailable",
        increased(metrics.RUNNER_RETRIES.select(step="store"), "5m"),
        hold_for="5m",
        severity=AlertSeverity.WARNING,
        summary="The runner cannot write verdicts to the store.",
        impact="Clients are served. No verdict is lost: the exchanges stay in the journal until the store is back.",
        first_step="Check the database that databases.store names.",
        runbook=RunbookSection.DOWN,
        dashboard=DashboardUid.COMPARISON,
    ),
    AlertRule(
        "ShadowRunnerErrors",
        increased(metrics.RUNNER_ERRORS.select(), "15m"),
        hold_for="0m",
        severity=AlertSeverity.WARNING,
        summary="The runner caught an unexpected error ({{ $labels.place }}) and continued.",
        impact="Clients are not affected. The exchange concerned was not compared.",
        first_step="Read the traceback in the runner's log and report it.",
        runbook=RunbookSection.SKIPPED,
        dashboard=DashboardUid.COMPARISON,
    ),
    AlertRule(
        "ShadowRulesReloadFailed",
        increased(metrics.RULES_RELOADS.select(result="refused"), "15m"),
        hold_for="0m",
        severity=AlertSeverity.WARNING,
        summary="The runner refused the changed comparison rules.",
        impact="Clients are not affected. The previous rules stay in force.",
        first_step="Run `shadow rules test`: it names the field that is wrong.",
        runbook=RunbookSection.MESSAGES,
        dashboard=DashboardUid.COMPARISON,
    ),
)

PROCESSES: Final = (
    AlertRule(
        "ShadowProxyDown",
        f"({metrics.up(metrics.PROXY_JOB).select()} == 0) or absent({metrics.up(metrics.PROXY_JOB).select()})",
        hold_for="1m",
        severity=AlertSeverity.PAGE,
        summary="The proxy {{ $labels.instance }} does not respond.",
        impact="Clients that are sent to this proxy may not be served.",
        first_step="Start the process, or let the load balancer send clients to another proxy or directly to the legacy.",
        runbook=RunbookSection.DOWN,
        dashboard=DashboardUid.PROXY,
    ),
    AlertRule(
        "ShadowRunnerDown",
        f"({metrics.up(metrics.RUNNER_JOB).select()} == 0) or absent({metrics.up(metrics.RUNNER_JOB).select()})",
        hold_for="2m",
        severity=AlertSeverity.PAGE,
        summary="The runner does not respond.",
        impact="Clients are served. Nothing is compared, so the rollout is paused.",
        first_step="Start the runner: it resumes at its committed offset.",
        runbook=RunbookSection.DOWN,
        dashboard=DashboardUid.COMPARISON,
        action=RolloutAction.PAUSE,
    ),
    AlertRule(
        "ShadowCandidateDown",
        _while_candidate_serves(f"{metrics.BACKEND_HEALTHY.select(side='candidate')} == 0"),
        hold_for="1m",
        severity=AlertSeverity.PAGE,
        summary="The candidate serves clients, and its health check fails at {{ $labels.instance }}.",
        impact="Clients of the candidate get errors, or the legacy answers for it where serve.fall_back is set.",
        first_step="Roll back (`shadow rollback`), then read the candidate's log.",
        runbook=RunbookSection.ROLL_BACK,
        dashboard=DashboardUid.PROXY,
    ),
    AlertRule(
        "ShadowCandidateMetricsLost",
        f"({metrics.up(metrics.CANDIDATE_JOB).select()} == 0)"
        f" and max_over_time({metrics.up(metrics.CANDIDATE_JOB).select()}[7d]) == 1",
        hold_for="5m",
        severity=AlertSeverity.WARNING,
        summary="The metrics page of the candidate's instance {{ $labels.instance }} has gone.",
        impact="Clients are served. The candidate's memory is not watched, so the alerts and the gate on memory are blind.",
        first_step="Request the page yourself. A candidate that has no metrics page any more is taken out of the scrape configuration.",
        runbook=RunbookSection.MISSING_PANELS,
        dashboard=DashboardUid.SCORER,
    ),
    AlertRule(
        "ShadowBackendEjected",
        f"{metrics.BACKEND_EJECTED.select()} == 1",
        hold_for="30s",
        severity=AlertSeverity.PAGE,
        summary="{{ $labels.instance }} has ejected the {{ $labels.side }} because it fails clients' requests.",
        impact="With serve.fall_back the other side answers safe requests; without it, clients of the {{ $labels.side }} get"
        " errors.",
        first_step="Roll back if it is the candidate; check the live instance of the {{ $labels.side }}.",
        runbook=RunbookSection.ROLL_BACK,
        dashboard=DashboardUid.PROXY,
    ),
    AlertRule(
        "ShadowBackendUnhealthy",
        f"{metrics.BACKEND_HEALTHY.select()} == 0",
        hold_for="2m",
        severity=AlertSeverity.WARNING,
        summary="The health check of the {{ $labels.side }} fails at {{ $labels.instance }}.",
        impact="Clients are served as long as their requests succeed.",
        first_step="Request the health check's path yourself: either the service is down or the path is wrong.",
        runbook=RunbookSection.ROLLED_BACK,
        dashboard=DashboardUid.PROXY,
    ),
    AlertRule(
        "ShadowConfigReloadFailed",
        increased(metrics.CONFIG_RELOADS.select(result="refused"), "15m"),
        hold_for="0m",
        severity=AlertSeverity.WARNING,
        summary="{{ $labels.instance }} refused the changed config.yaml.",
        impact="Clients are served with the previous settings.",
        first_step="Run `shadow proxy --check`: it names the field that is wrong.",
        runbook=RunbookSection.MESSAGES,
        dashboard=DashboardUid.PROXY,
    ),
    AlertRule(
        "ShadowWorkerCrashed",
        f"{increase(metrics.WORKER_RESTARTS.select(), '15m')} > 0",
        hold_for="0m",
        severity=AlertSeverity.WARNING,
        summary="A worker of the proxy {{ $labels.instance }} crashed and was restarted.",
        impact="Its requests in flight failed, and exchanges that were not yet on disk are lost; the proxy dashboard has both counts.",
        first_step="Read the proxy's log for the cause and report it.",
        runbook=RunbookSection.MESSAGES,
        dashboard=DashboardUid.PROXY,
    ),
    AlertRule(
        "ShadowRolledBack",
        f"{metrics.ROLLED_BACK.select()} == 1",
        hold_for="0m",
        severity=AlertSeverity.WARNING,
        summary="{{ $labels.instance }} is rolled back.",
        impact="The legacy serves all clients until an operator resumes the rollout.",
        first_step="Run `shadow status` to see what rolled back and why; `shadow resume` ends the rollback.",
        runbook=RunbookSection.WHY,
        dashboard=DashboardUid.ROLLOUT,
    ),
    AlertRule(
        "ShadowProxiesDisagree",
        f"{spread_by(metrics.CANDIDATE_SHARE.select())} > 0 or {spread_by(metrics.ROLLED_BACK.select())} > 0",
        hold_for="1m",
        severity=AlertSeverity.PAGE,
        summary="The proxies send different shares of clients to the candidate, or only some of them are rolled back.",
        impact="Some clients are served at an outdated step; a rollback may not have reached every proxy.",
        first_step="Run `shadow status` to find the proxy that differs: one that cannot reach the store keeps its last known state.",
        runbook=RunbookSection.ROLLED_BACK,
        dashboard=DashboardUid.ROLLOUT,
    ),
)

GROUPS: Final[dict[str, Sequence[AlertRule]]] = {
    "shadow-candidate": CANDIDATE,
    "shadow-measurement": MEASUREMENT,
    "shadow-processes": PROCESSES,
}
