"""Test cases for alerts: for each, series on which it fires and similar series on which it does not, in promtool's notation."""

from dataclasses import dataclass

PROXY = {"installation": "main", "job": "shadow-proxy", "instance": "127.0.0.1:9901"}
RUNNER = {"installation": "main", "job": "shadow-runner", "instance": "127.0.0.1:9902"}
CANDIDATE = {"installation": "main", "job": "shadow-candidate", "instance": "127.0.0.1:9911", "role": "served"}
ROUTE = {"route": "v2_score"}


@dataclass(frozen=True, slots=True)
class Series:
    """One time series, with one value per minute. `values` is promtool's notation: `0+3x60` grows by 3, 60 times."""

    name: str
    labels: dict[str, str]
    values: str

    @property
    def text(self) -> str:
        labels = ",".join(f'{name}="{value}"' for name, value in sorted(self.labels.items()))
        return f"{self.name}{{{labels}}}"


@dataclass(frozen=True, slots=True)
class AlertCase:
    """Series on which an alert fires, and series on which it does not, at one minute of the hour."""

    alert: str
    fires: tuple[Series, ...]
    quiet: tuple[Series, ...]
    minute: int = 30


def proxy_series(name: str, values: str, **labels: str) -> Series:
    return Series(name, PROXY | labels, values)


def runner_series(name: str, values: str, **labels: str) -> Series:
    return Series(name, RUNNER | labels, values)


def writer_series(writer: str, *, lag_s: int, silent: int) -> tuple[Series, ...]:
    return (
        runner_series("shadow_writer_lag_seconds", f"{lag_s}x60", writer=writer),
        runner_series("shadow_writer_silent", f"{silent}x60", writer=writer),
    )


def causes(state: str, values: str) -> Series:
    return runner_series("shadow_causes", values, state=state)


def candidate_series(name: str, values: str, **labels: str) -> Series:
    return Series(name, CANDIDATE | labels, values)


def durations(series: Series, *, slow: int, all_: int, length: int = 60) -> tuple[Series, ...]:
    """Return a histogram that grows by `count` observations a minute, of which `slow` take between 0.1 and 1 s."""
    counts = {"0.05": (all_ - slow) // 2, "0.1": all_ - slow, "1.0": all_, "+Inf": all_}
    buckets = (
        Series(f"{series.name}_bucket", series.labels | {"le": bound}, f"0+{count}x{length}")
        for bound, count in counts.items()
    )
    return (*buckets, Series(f"{series.name}_count", series.labels, f"0+{all_}x{length}"))


def served(side: str, *, slow: int = 0, all_: int = 300, length: int = 60) -> tuple[Series, ...]:
    return durations(
        proxy_series("shadow_request_duration_seconds", "", side=side, **ROUTE), slow=slow, all_=all_, length=length
    )


def mirrored(side: str, *, slow: int = 0, all_: int = 300) -> tuple[Series, ...]:
    return durations(runner_series("shadow_mirrored_duration_seconds", "", side=side, **ROUTE), slow=slow, all_=all_)


def responses(side: str, *, good: int, bad: int, length: int = 60) -> tuple[Series, ...]:
    return (
        proxy_series("shadow_requests_total", f"0+{good}x{length}", side=side, status="200", **ROUTE),
        proxy_series("shadow_requests_total", f"0+{bad}x{length}", side=side, status="500", **ROUTE),
        *served(side, all_=good + bad, length=length),
    )


def compared(verdict: str, values: str) -> Series:
    return runner_series("shadow_compared_total", values, verdict=verdict, **ROUTE)


def proxy_counts(
    served_: str, written: str = "0+90x60", dropped: str = "0x60", skipped: str = "0+10x60"
) -> tuple[Series, ...]:
    return (
        proxy_series("shadow_served_total", served_),
        proxy_series("shadow_journal_written_total", written),
        proxy_series("shadow_journal_queued", "0x60"),
        proxy_series("shadow_journal_dropped_total", dropped, cause="queue_full"),
        proxy_series("shadow_skipped_total", skipped, cause="sample"),
    )


def journal_and_runner(written: str, ended: str, read: str = "0+100x120") -> tuple[Series, ...]:
    return (
        proxy_series("shadow_journal_written_total", written),
        compared("match", ended),
        runner_series("shadow_in_flight", "5x120"),
        runner_series("shadow_read_total", read),
        runner_series("up", "1x120"),
    )


def gate(setting: str, limit: float, length: int = 60) -> Series:
    return proxy_series("shadow_rollout_gate_setting", f"{limit}x{length}", setting=setting)


ERRORS_MAX = gate("error_rate_increase_max", 0.001)
SLOWER_MAX = gate("latency_ratio_max", 1.05)
SLOWER_THAN_MIRRORED_MAX = gate("latency_across_roles_max", 2.0)
MEMORY_MAX = gate("rss_max_bytes", 536870912)
MISMATCHES_MAX = gate("mismatch_rate_max", 0.001)
COMPARED_MIN = gate("compared_share_min", 0.8)


def other_instance(series: Series) -> Series:
    return Series(series.name, series.labels | {"instance": "other"}, series.values)


def of_other_installation(series: Series) -> Series:
    return Series(series.name, series.labels | {"installation": "other"}, series.values)


ROLLED_BACK = proxy_series("shadow_rolled_back", "1x60")
NOT_ROLLED_BACK = proxy_series("shadow_rolled_back", "0x60")
SHARE = proxy_series("shadow_candidate_share_ratio", "1x60")
LEASE_HELD = runner_series("shadow_lease_held", "1x60", reader="runner")
LEASE_WAITED_FOR = runner_series("shadow_lease_held", "0x60", reader="runner")
NO_SHARE = proxy_series("shadow_candidate_share_ratio", "0x60")
APPEARS_AFTER_25_MIN = "_x25 1x35"
"""A labelled counter does not exist before its first increment, so its first sample is 1."""
ROWS = runner_series("shadow_differences_total", "_x25 3x35", kind="missing_row", severity="broken", **ROUTE)
RESPONSES = runner_series("shadow_differences_total", "_x25 3x35", kind="status", severity="broken", **ROUTE)
ABOVE_LIMIT = candidate_series("process_resident_memory_bytes", "536870913x60")
AT_LIMIT = candidate_series("process_resident_memory_bytes", "536870912x60")
POINTS = runner_series(
    "shadow_row_differences_total", APPEARS_AFTER_25_MIN, table="registry_humanpoints", kind="missing_row"
)
PASSPORTS = runner_series(
    "shadow_row_differences_total", APPEARS_AFTER_25_MIN, table="registry_passport", kind="missing_row"
)

BASELINE_OF_YESTERDAY = AlertCase(
    "ShadowCandidateErrors",
    fires=(
        gate("error_rate_increase_max", 0.001, length=1500),
        *responses("candidate", good=297, bad=0, length=1500),
        proxy_series("shadow_requests_total", "0x1400 0+3x100", side="candidate", status="502", **ROUTE),
    ),
    quiet=(
        gate("error_rate_increase_max", 0.001, length=1500),
        *responses("candidate", good=297, bad=3, length=1500),
    ),
    minute=1500,
)
"""While the legacy serves no clients, the baseline is the candidate's own error ratio of a day ago."""

CASES = (
    AlertCase(
        "ShadowCandidateErrors",
        fires=(ERRORS_MAX, *responses("legacy", good=300, bad=0), *responses("candidate", good=297, bad=3)),
        quiet=(ERRORS_MAX, *responses("legacy", good=297, bad=3), *responses("candidate", good=297, bad=3)),
    ),
    AlertCase(  # too few requests to judge
        "ShadowCandidateErrors",
        fires=(ERRORS_MAX, *responses("candidate", good=297, bad=3)),
        quiet=(ERRORS_MAX, *responses("candidate", good=9, bad=1)),
    ),
    AlertCase(
        "ShadowCandidateSlower",
        fires=(SLOWER_MAX, *served("legacy"), *served("candidate", slow=60)),
        quiet=(SLOWER_MAX, *served("legacy", slow=60), *served("candidate", slow=60)),
    ),
    AlertCase(
        "ShadowCandidateSlower",
        fires=(SLOWER_MAX, *served("legacy", slow=1), *served("candidate", slow=30)),
        quiet=(SLOWER_MAX, *served("legacy", all_=10), *served("candidate", slow=60)),
    ),
    AlertCase(  # the tolerance is that of the gate: the candidate's p95 is some ten times the legacy's
        "ShadowCandidateSlower",
        fires=(gate("latency_ratio_max", 2.0), *served("legacy"), *served("candidate", slow=60)),
        quiet=(gate("latency_ratio_max", 50.0), *served("legacy"), *served("candidate", slow=60)),
    ),
    AlertCase(
        "ShadowCandidateMemoryHigh",
        fires=(gate("rss_max_bytes", 536870000), AT_LIMIT, SHARE),
        quiet=(gate("rss_max_bytes", 0), ABOVE_LIMIT, SHARE),
    ),
    AlertCase(
        "ShadowCandidateSlowerThanMirror",
        fires=(SLOWER_THAN_MIRRORED_MAX, *mirrored("legacy"), *served("candidate", slow=60)),
        quiet=(SLOWER_THAN_MIRRORED_MAX, *mirrored("legacy"), *served("legacy"), *served("candidate", slow=60)),
    ),
    AlertCase("ShadowCandidateMemoryHigh", fires=(MEMORY_MAX, ABOVE_LIMIT, SHARE), quiet=(MEMORY_MAX, AT_LIMIT, SHARE)),
    AlertCase(
        "ShadowCandidateMemoryHigh", fires=(MEMORY_MAX, ABOVE_LIMIT, SHARE), quiet=(MEMORY_MAX, ABOVE_LIMIT, NO_SHARE)
    ),
    AlertCase(
        "ShadowMirrorMemoryHigh", fires=(MEMORY_MAX, ABOVE_LIMIT, NO_SHARE), quiet=(MEMORY_MAX, ABOVE_LIMIT, SHARE)
    ),
    AlertCase("ShadowMirrorMemoryHigh", fires=(MEMORY_MAX, ABOVE_LIMIT), quiet=(MEMORY_MAX, AT_LIMIT, NO_SHARE)),
    AlertCase("ShadowRowsDiffer", fires=(ROWS, SHARE), quiet=(ROWS, NO_SHARE)),
    AlertCase("ShadowRowsDiffer", fires=(ROWS, SHARE), quiet=(RESPONSES, SHARE)),
    AlertCase("ShadowPointsDiffer", fires=(POINTS, SHARE), quiet=(PASSPORTS, SHARE)),
    AlertCase("ShadowPointsDiffer", fires=(POINTS, SHARE), quiet=(POINTS, NO_SHARE)),
    AlertCase(
        "ShadowMatchRateLow",
        fires=(MISMATCHES_MAX, compared("match", "0+100x60"), compared("mismatch", "0+1x60")),
        quiet=(
            MISMATCHES_MAX,
            compared("match", "0+100x60"),
            compared("transient", "0+1x60"),
            compared("known", "0+5x60"),
        ),
    ),
    AlertCase(
        "ShadowMatchRateLow",
        fires=(MISMATCHES_MAX, compared("match", "0+100x60"), compared("mismatch", "0+1x60")),
        quiet=(MISMATCHES_MAX, compared("match", "0+1x60"), compared("mismatch", "0+1x60")),
    ),
    AlertCase(
        "ShadowMismatch",
        fires=(compared("mismatch", APPEARS_AFTER_25_MIN),),
        quiet=(compared("mismatch", "1x60"), compared("match", "0+100x60")),
    ),
    AlertCase(
        "ShadowMismatch",
        fires=(compared("mismatch", APPEARS_AFTER_25_MIN),),
        quiet=(compared("mismatch", APPEARS_AFTER_25_MIN), causes("provisional", "1x60")),
    ),
    AlertCase(
        "ShadowUnhandledCause",
        fires=(causes("new", "1x60"), causes("acknowledged", "1x60")),
        quiet=(causes("new", "0x60"), causes("acknowledged", "2x60"), causes("provisional", "3x60")),
    ),
    AlertCase("ShadowUnhandledCause", fires=(causes("regressed", "1x60"),), quiet=(causes("fixed", "1x60"),)),
    AlertCase("ShadowAccountingGap", fires=proxy_counts("0 1+100x60"), quiet=proxy_counts("0+100x60")),
    AlertCase(
        "ShadowAccountingGap",
        fires=proxy_counts("0+100x60", written="0+85x60"),
        quiet=proxy_counts("0+100x60", written="0+85x60", dropped="0+5x60"),
    ),
    AlertCase(
        "ShadowExchangesMissing",
        fires=(runner_series("shadow_exchanges_missing", "1x60", writer="w0-3f2a"),),
        quiet=(runner_series("shadow_exchanges_missing", "0x60", writer="w0-3f2a"),),
    ),
    AlertCase(
        "ShadowShippingFails",
        fires=(proxy_series("shadow_shipper_up", "0x60"),),
        quiet=(proxy_series("shadow_shipper_up", "1x60"),),
    ),
    AlertCase(
        "ShadowSpoolOld",
        fires=(proxy_series("shadow_spool_age_seconds", "121x60"),),
        quiet=(proxy_series("shadow_spool_age_seconds", "120x60"),),
    ),
    AlertCase(
        "ShadowWriterSilent",
        fires=(runner_series("shadow_writer_silent", "1x60", writer="w0-3f2a"),),
        quiet=(runner_series("shadow_writer_silent", "0x60", writer="w0-3f2a"),),
    ),
    AlertCase(
        "ShadowWriterLosesExchanges",
        fires=(runner_series("shadow_writer_lost_total", "0x25 5x35", writer="w0-3f2a"),),
        quiet=(runner_series("shadow_writer_lost_total", "5x60", writer="w0-3f2a"),),
    ),
    AlertCase(
        "ShadowWriterLags",
        fires=(writer_series("w0-3f2a", lag_s=61, silent=0)),
        quiet=(*writer_series("w0-3f2a", lag_s=61, silent=1), *writer_series("w1-90c4", lag_s=60, silent=0)),
    ),
    AlertCase(
        "ShadowBrokerDown",
        fires=(runner_series("shadow_broker_up", "0x60"), LEASE_HELD),
        quiet=(runner_series("shadow_broker_up", "0x60"), LEASE_WAITED_FOR),
    ),
    AlertCase(
        "ShadowBrokerDown",
        fires=(runner_series("shadow_broker_up", "0x60"), LEASE_HELD),
        quiet=(runner_series("shadow_broker_up", "1x60"), LEASE_HELD),
    ),
    AlertCase(
        "ShadowLeaseNotHeld",
        fires=(LEASE_WAITED_FOR, other_instance(LEASE_WAITED_FOR)),
        quiet=(LEASE_WAITED_FOR, other_instance(LEASE_HELD)),
    ),
    AlertCase(
        "ShadowSliceAway",
        fires=(
            runner_series("shadow_reader_away", "1x60", reader="mirror.b"),
            runner_series("shadow_reader_away", "0x60", reader="mirror.a"),
        ),
        quiet=(
            runner_series("shadow_reader_away", "0x10 1x2 0x48", reader="mirror.b"),
            runner_series("shadow_reader_away", "0x60", reader="mirror.a"),
        ),
    ),
    AlertCase(
        "ShadowJournalNotTrimmed",
        fires=(runner_series("shadow_journal_trim_failures_total", "0x10 0+60x50"),),
        quiet=(runner_series("shadow_journal_trim_failures_total", "0x25 60x35"),),
    ),
    AlertCase(
        "ShadowClocksDiffer",
        fires=(runner_series("shadow_writer_clock_ahead_seconds", "-0.2x60", writer="w0-3f2a"),),
        quiet=(runner_series("shadow_writer_clock_ahead_seconds", "0.05x60", writer="w0-3f2a"),),
    ),
    AlertCase(
        "ShadowOutcomesExceedExchanges",
        fires=(runner_series("shadow_in_flight", "-1x60"),),
        quiet=(runner_series("shadow_in_flight", "0x60"), proxy_series("shadow_in_flight", "-1x60")),
    ),
    AlertCase(
        "ShadowJournalRunnerGap",
        fires=journal_and_runner("0+100x120", "0+20x120"),
        quiet=journal_and_runner("7000+100x120", "0+100x120"),
        minute=60,
    ),
    AlertCase(
        "ShadowJournalRunnerGap",
        fires=journal_and_runner("0+100x120", "0+20x120"),
        quiet=journal_and_runner("0+100x120", "0+100x40 0+100x40", read="0+100x40 0+100x40"),
        minute=60,
    ),
    AlertCase(
        "ShadowJournalDrops",
        fires=(proxy_series("shadow_journal_dropped_total", "0x28 5x30", cause="disk_full"),),
        quiet=(proxy_series("shadow_journal_dropped_total", "5x60", cause="disk_full"),),
    ),
    AlertCase(
        "ShadowJournalUnreadDeleted",
        fires=(proxy_series("shadow_journal_unread_deleted_total", "0x28 5x30"),),
        quiet=(proxy_series("shadow_journal_unread_deleted_total", "5x60"),),
    ),
    AlertCase(
        "ShadowExchangesLost",
        fires=(runner_series("shadow_dropped_total", APPEARS_AFTER_25_MIN, cause="journal"),),
        quiet=(runner_series("shadow_dropped_total", "1x60", cause="journal"),),
    ),
    AlertCase(
        "ShadowRunnerLag",
        fires=(runner_series("shadow_lag_seconds", "61x60"),),
        quiet=(runner_series("shadow_lag_seconds", "59x60"),),
    ),
    AlertCase(
        "ShadowCaptureLogRetained",
        fires=(runner_series("shadow_capture_log_retained_bytes", f"{1024**3 + 1}x60", role="served"),),
        quiet=(runner_series("shadow_capture_log_retained_bytes", f"{1024**3 - 1}x60", role="served"),),
    ),
    AlertCase(
        "ShadowNothingCompared",
        fires=(proxy_series("shadow_served_total", "0+100x60"), compared("match", "7x60")),
        quiet=(proxy_series("shadow_served_total", "0+100x60"), compared("match", "0+1x60")),
    ),
    AlertCase(
        "ShadowNothingCompared",
        fires=(proxy_series("shadow_served_total", "0+100x60"),),
        quiet=(proxy_series("shadow_served_total", "100x60"),),
    ),
    AlertCase(
        "ShadowComparedShareLow",
        fires=(
            COMPARED_MIN,
            runner_series("shadow_read_total", "0+100x60"),
            compared("match", "0+70x60"),
            runner_series("shadow_skipped_total", "0+30x60", cause="overlapped", **ROUTE),
        ),
        quiet=(
            COMPARED_MIN,
            runner_series("shadow_read_total", "0+100x60"),
            compared("match", "0+70x60"),
            runner_series("shadow_skipped_total", "0+30x60", cause="policy", **ROUTE),
        ),
    ),
    AlertCase(
        "ShadowDriftedRows",
        fires=(runner_series("shadow_drifted_rows_total", "0x28 1x30"),),
        quiet=(runner_series("shadow_drifted_rows_total", "1x60"),),
    ),
    AlertCase(
        "ShadowStrayTransactions",
        fires=(runner_series("shadow_stray_transactions_total", "0x28 1x30"),),
        quiet=(runner_series("shadow_stray_transactions_total", "1x60"),),
    ),
    AlertCase(
        "ShadowSideUntagged",
        fires=(runner_series("shadow_side_untagged", "1x60", role="mirrored", side="candidate"),),
        quiet=(runner_series("shadow_side_untagged", "0x60", role="mirrored", side="candidate"),),
    ),
    AlertCase(
        "ShadowCaptureInterrupted",
        fires=(runner_series("shadow_resyncs_total", APPEARS_AFTER_25_MIN, reason="interrupted"),),
        quiet=(runner_series("shadow_resyncs_total", APPEARS_AFTER_25_MIN, reason="start"),),
    ),
    AlertCase(
        "ShadowSchemaDiffers",
        fires=(runner_series("shadow_table_schema_differs", "1x60", table="score"),),
        quiet=(
            runner_series("shadow_table_schema_differs", "1x10 0x50", table="score"),
            runner_series("shadow_table_not_captured", "1x60", table="session"),
        ),
    ),
    AlertCase(
        "ShadowResyncPending",
        fires=(runner_series("shadow_resync_pending", "1x60"),),
        quiet=(runner_series("shadow_resync_pending", "1x10 0 1x10"),),
    ),
    AlertCase(
        "ShadowStoreUnavailable",
        fires=(runner_series("shadow_retries_total", "0+6x60", step="store"),),
        quiet=(runner_series("shadow_retries_total", "0+6x60", step="align"),),
    ),
    AlertCase(
        "ShadowRunnerErrors",
        fires=(runner_series("shadow_errors_total", APPEARS_AFTER_25_MIN, place="item"),),
        quiet=(runner_series("shadow_errors_total", "1x60", place="item"),),
    ),
    AlertCase(
        "ShadowRulesReloadFailed",
        fires=(runner_series("shadow_rules_reloads_total", APPEARS_AFTER_25_MIN, result="refused"),),
        quiet=(runner_series("shadow_rules_reloads_total", APPEARS_AFTER_25_MIN, result="applied"),),
    ),
    AlertCase("ShadowProxyDown", fires=(proxy_series("up", "1x25 0x35"),), quiet=(proxy_series("up", "1x60"),)),
    AlertCase("ShadowProxyDown", fires=(), quiet=(proxy_series("up", "1x60"),)),
    AlertCase("ShadowRunnerDown", fires=(runner_series("up", "1x25 0x35"),), quiet=(runner_series("up", "1x60"),)),
    AlertCase("ShadowRunnerDown", fires=(proxy_series("up", "1x60"),), quiet=(runner_series("up", "1x60"),)),
    AlertCase(
        "ShadowCandidateDown",
        fires=(proxy_series("shadow_backend_healthy", "0x60", side="candidate"), SHARE),
        quiet=(proxy_series("shadow_backend_healthy", "0x60", side="candidate"), NO_SHARE),
    ),
    AlertCase(  # a candidate without a metrics page
        "ShadowCandidateDown",
        fires=(proxy_series("shadow_backend_healthy", "0x60", side="candidate"), SHARE),
        quiet=(
            candidate_series("up", "0x60"),
            proxy_series("shadow_backend_healthy", "1x60", side="candidate"),
            proxy_series("shadow_backend_healthy", "0x60", side="legacy"),
            SHARE,
        ),
    ),
    AlertCase(
        "ShadowCandidateMetricsLost",
        fires=(candidate_series("up", "1x20 0x40"),),
        quiet=(candidate_series("up", "0x60"),),
    ),
    AlertCase(
        "ShadowBackendEjected",
        fires=(proxy_series("shadow_backend_ejected", "0x20 1x40", side="candidate"),),
        quiet=(proxy_series("shadow_backend_ejected", "0x60", side="candidate"),),
    ),
    AlertCase(
        "ShadowBackendUnhealthy",
        fires=(proxy_series("shadow_backend_healthy", "0x60", side="legacy"),),
        quiet=(proxy_series("shadow_backend_healthy", "1x60", side="legacy"),),
    ),
    AlertCase(
        "ShadowConfigReloadFailed",
        fires=(proxy_series("shadow_config_reloads_total", APPEARS_AFTER_25_MIN, result="refused"),),
        quiet=(proxy_series("shadow_config_reloads_total", APPEARS_AFTER_25_MIN, result="applied"),),
    ),
    AlertCase(
        "ShadowWorkerCrashed",
        fires=(proxy_series("shadow_worker_restarts_total", "0x28 1x30"),),
        quiet=(proxy_series("shadow_worker_restarts_total", "1x60"),),
    ),
    AlertCase(
        "ShadowRolledBack",
        fires=(proxy_series("shadow_rolled_back", "1x60"),),
        quiet=(proxy_series("shadow_rolled_back", "0x60"),),
    ),
    AlertCase(
        "ShadowProxiesDisagree",
        fires=(SHARE, other_instance(NO_SHARE)),
        quiet=(SHARE, other_instance(SHARE), of_other_installation(NO_SHARE)),
    ),
    AlertCase(  # one proxy did not roll back, at a step at which the candidate serves nobody
        "ShadowProxiesDisagree",
        fires=(ROLLED_BACK, other_instance(NOT_ROLLED_BACK)),
        quiet=(ROLLED_BACK, of_other_installation(NOT_ROLLED_BACK)),
    ),
)

OF_OTHER_INSTALLATION = (
    AlertCase(
        "ShadowCandidateErrors",
        fires=(ERRORS_MAX, *responses("legacy", good=300, bad=0), *responses("candidate", good=297, bad=3)),
        quiet=(
            of_other_installation(ERRORS_MAX),
            *responses("legacy", good=300, bad=0),
            *responses("candidate", good=297, bad=3),
        ),
    ),
    AlertCase(
        "ShadowCandidateSlower",
        fires=(SLOWER_MAX, *served("legacy"), *served("candidate", slow=60)),
        quiet=(SLOWER_MAX, *map(of_other_installation, served("legacy")), *served("candidate", slow=60)),
    ),
    AlertCase(
        "ShadowCandidateMemoryHigh",
        fires=(MEMORY_MAX, ABOVE_LIMIT, SHARE),
        quiet=(MEMORY_MAX, ABOVE_LIMIT, NO_SHARE, of_other_installation(SHARE)),
    ),
    AlertCase(
        "ShadowRowsDiffer",
        fires=(ROWS, SHARE),
        quiet=(ROWS, of_other_installation(SHARE)),
    ),
    AlertCase(
        "ShadowAccountingGap",
        fires=(*proxy_counts("0 1+100x60"), *map(of_other_installation, proxy_counts("1 0+100x60"))),
        quiet=(*proxy_counts("0+100x60"), *map(of_other_installation, proxy_counts("0+100x60"))),
    ),
    AlertCase(
        "ShadowNothingCompared",
        fires=(proxy_series("shadow_served_total", "0+100x60"), of_other_installation(compared("match", "0+1x60"))),
        quiet=(proxy_series("shadow_served_total", "0+100x60"), compared("match", "0+1x60")),
    ),
)
"""Two installations in one Prometheus: what one does neither makes an alert of the other fire nor hides it."""
