"""For each alert a course of the metrics on which it fires, and one like it on which it stays quiet, in promtool's notation."""

from dataclasses import dataclass

PROXY = {"job": "shadow-proxy", "instance": "127.0.0.1:9901"}
RUNNER = {"job": "shadow-runner", "instance": "127.0.0.1:9902"}
CANDIDATE = {"job": "shadow-candidate", "instance": "127.0.0.1:9911", "role": "served"}
ROUTE = {"route": "v2_score"}


@dataclass(frozen=True, slots=True)
class Series:
    """One series: a value a minute."""

    name: str
    labels: dict[str, str]
    values: str

    @property
    def text(self) -> str:
        labels = ",".join(f'{name}="{value}"' for name, value in sorted(self.labels.items()))
        return f"{self.name}{{{labels}}}"


@dataclass(frozen=True, slots=True)
class Case:
    alert: str
    fires: tuple[Series, ...]
    quiet: tuple[Series, ...]
    minute: int = 30


def of_proxy(name: str, values: str, **labels: str) -> Series:
    return Series(name, PROXY | labels, values)


def of_runner(name: str, values: str, **labels: str) -> Series:
    return Series(name, RUNNER | labels, values)


def of_candidate(name: str, values: str, **labels: str) -> Series:
    return Series(name, CANDIDATE | labels, values)


def durations(series: Series, *, slow: int, all_: int, length: int = 60) -> tuple[Series, ...]:
    """A histogram that grows by so many a minute, `slow` of which take between 0.1 and 1 s."""
    counts = {"0.05": (all_ - slow) // 2, "0.1": all_ - slow, "1.0": all_, "+Inf": all_}
    buckets = (
        Series(f"{series.name}_bucket", series.labels | {"le": bound}, f"0+{count}x{length}")
        for bound, count in counts.items()
    )
    return (*buckets, Series(f"{series.name}_count", series.labels, f"0+{all_}x{length}"))


def served(side: str, *, slow: int = 0, all_: int = 300, length: int = 60) -> tuple[Series, ...]:
    return durations(
        of_proxy("shadow_request_duration_seconds", "", side=side, **ROUTE), slow=slow, all_=all_, length=length
    )


def mirrored(side: str, *, slow: int = 0, all_: int = 300) -> tuple[Series, ...]:
    return durations(of_runner("shadow_mirrored_duration_seconds", "", side=side, **ROUTE), slow=slow, all_=all_)


def responses(side: str, *, good: int, bad: int, length: int = 60) -> tuple[Series, ...]:
    return (
        of_proxy("shadow_requests_total", f"0+{good}x{length}", side=side, status="200", **ROUTE),
        of_proxy("shadow_requests_total", f"0+{bad}x{length}", side=side, status="500", **ROUTE),
        *served(side, all_=good + bad, length=length),
    )


def compared(verdict: str, values: str) -> Series:
    return of_runner("shadow_compared_total", values, verdict=verdict, **ROUTE)


def counts(
    served_: str, written: str = "0+90x60", dropped: str = "0x60", skipped: str = "0+10x60"
) -> tuple[Series, ...]:
    return (
        of_proxy("shadow_served_total", served_),
        of_proxy("shadow_journal_written_total", written),
        of_proxy("shadow_journal_queued", "0x60"),
        of_proxy("shadow_journal_dropped_total", dropped, cause="queue_full"),
        of_proxy("shadow_skipped_total", skipped, cause="sample"),
    )


def handed_over(written: str, ended: str, read: str = "0+100x120") -> tuple[Series, ...]:
    return (
        of_proxy("shadow_journal_written_total", written),
        compared("match", ended),
        of_runner("shadow_in_flight", "5x120"),
        of_runner("shadow_read_total", read),
        of_runner("up", "1x120"),
    )


SHARE = of_proxy("shadow_candidate_share_ratio", "1x60")
NO_SHARE = of_proxy("shadow_candidate_share_ratio", "0x60")
FIRST_LATE = "_x25 1x35"
"""A labelled counter begins with 1."""
ROWS = of_runner("shadow_differences_total", "_x25 3x35", kind="missing_row", severity="broken", **ROUTE)
RESPONSES = of_runner("shadow_differences_total", "_x25 3x35", kind="status", severity="broken", **ROUTE)
TOO_MUCH = of_candidate("process_resident_memory_bytes", "536870913x60")
ALL_ALLOWED = of_candidate("process_resident_memory_bytes", "536870912x60")
POINTS = of_runner("shadow_row_differences_total", FIRST_LATE, table="registry_humanpoints", kind="missing_row")
PASSPORTS = of_runner("shadow_row_differences_total", FIRST_LATE, table="registry_passport", kind="missing_row")

OWN_YESTERDAY = Case(
    "ShadowCandidateErrors",
    fires=(
        *responses("candidate", good=297, bad=0, length=1500),
        of_proxy("shadow_requests_total", "0x1400 0+3x100", side="candidate", status="502", **ROUTE),
    ),
    quiet=responses("candidate", good=297, bad=3, length=1500),
    minute=1500,
)
"""While the legacy serves nobody, the candidate is held to its own errors of a day ago."""

CASES = (
    Case(
        "ShadowCandidateErrors",
        fires=(*responses("legacy", good=300, bad=0), *responses("candidate", good=297, bad=3)),
        quiet=(*responses("legacy", good=297, bad=3), *responses("candidate", good=297, bad=3)),
    ),
    Case(  # a few requests say nothing
        "ShadowCandidateErrors",
        fires=responses("candidate", good=297, bad=3),
        quiet=responses("candidate", good=9, bad=1),
    ),
    Case(
        "ShadowCandidateSlower",
        fires=(*served("legacy"), *served("candidate", slow=60)),
        quiet=(*served("legacy", slow=60), *served("candidate", slow=60)),
    ),
    Case(
        "ShadowCandidateSlower",
        fires=(*served("legacy", slow=1), *served("candidate", slow=30)),
        quiet=(*served("legacy", all_=10), *served("candidate", slow=60)),
    ),
    Case(
        "ShadowCandidateSlowerThanMirror",
        fires=(*mirrored("legacy"), *served("candidate", slow=60)),
        quiet=(*mirrored("legacy"), *served("legacy"), *served("candidate", slow=60)),
    ),
    Case("ShadowCandidateMemory", fires=(TOO_MUCH, SHARE), quiet=(ALL_ALLOWED, SHARE)),
    Case("ShadowCandidateMemory", fires=(TOO_MUCH, SHARE), quiet=(TOO_MUCH, NO_SHARE)),
    Case("ShadowCandidateMemoryMirroring", fires=(TOO_MUCH, NO_SHARE), quiet=(TOO_MUCH, SHARE)),
    Case("ShadowCandidateMemoryMirroring", fires=(TOO_MUCH,), quiet=(ALL_ALLOWED, NO_SHARE)),
    Case("ShadowRowsDiffer", fires=(ROWS, SHARE), quiet=(ROWS, NO_SHARE)),
    Case("ShadowRowsDiffer", fires=(ROWS, SHARE), quiet=(RESPONSES, SHARE)),
    Case("ShadowPointsDiffer", fires=(POINTS, SHARE), quiet=(PASSPORTS, SHARE)),
    Case("ShadowPointsDiffer", fires=(POINTS, SHARE), quiet=(POINTS, NO_SHARE)),
    Case(
        "ShadowMatchRateLow",
        fires=(compared("match", "0+100x60"), compared("mismatch", "0+1x60")),
        quiet=(compared("match", "0+100x60"), compared("transient", "0+1x60"), compared("known", "0+5x60")),
    ),
    Case(
        "ShadowMatchRateLow",
        fires=(compared("match", "0+100x60"), compared("mismatch", "0+1x60")),
        quiet=(compared("match", "0+1x60"), compared("mismatch", "0+1x60")),
    ),
    Case(
        "ShadowMismatch",
        fires=(compared("mismatch", FIRST_LATE),),
        quiet=(compared("mismatch", "1x60"), compared("match", "0+100x60")),
    ),
    Case("ShadowAccountingGap", fires=counts("0 1+100x60"), quiet=counts("0+100x60")),
    Case(
        "ShadowAccountingGap",
        fires=counts("0+100x60", written="0+85x60"),
        quiet=counts("0+100x60", written="0+85x60", dropped="0+5x60"),
    ),
    Case(
        "ShadowOutcomesExceedExchanges",
        fires=(of_runner("shadow_in_flight", "-1x60"),),
        quiet=(of_runner("shadow_in_flight", "0x60"), of_proxy("shadow_in_flight", "-1x60")),
    ),
    Case(
        "ShadowHandedOverGap",
        fires=handed_over("0+100x120", "0+20x120"),
        quiet=handed_over("7000+100x120", "0+100x120"),
        minute=60,
    ),
    Case(
        "ShadowHandedOverGap",
        fires=handed_over("0+100x120", "0+20x120"),
        quiet=handed_over("0+100x120", "0+100x40 0+100x40", read="0+100x40 0+100x40"),
        minute=60,
    ),
    Case(
        "ShadowJournalDrops",
        fires=(of_proxy("shadow_journal_dropped_total", "0x28 5x30", cause="disk_full"),),
        quiet=(of_proxy("shadow_journal_dropped_total", "5x60", cause="disk_full"),),
    ),
    Case(
        "ShadowJournalUnreadDeleted",
        fires=(of_proxy("shadow_journal_unread_deleted_total", "0x28 5x30"),),
        quiet=(of_proxy("shadow_journal_unread_deleted_total", "5x60"),),
    ),
    Case(
        "ShadowExchangesLost",
        fires=(of_runner("shadow_dropped_total", FIRST_LATE, cause="journal"),),
        quiet=(of_runner("shadow_dropped_total", "1x60", cause="journal"),),
    ),
    Case(
        "ShadowLag",
        fires=(of_runner("shadow_lag_seconds", "61x60"),),
        quiet=(of_runner("shadow_lag_seconds", "59x60"),),
    ),
    Case(
        "ShadowNothingCompared",
        fires=(of_proxy("shadow_served_total", "0+100x60"), compared("match", "7x60")),
        quiet=(of_proxy("shadow_served_total", "0+100x60"), compared("match", "0+1x60")),
    ),
    Case(
        "ShadowNothingCompared",
        fires=(of_proxy("shadow_served_total", "0+100x60"),),
        quiet=(of_proxy("shadow_served_total", "100x60"),),
    ),
    Case(
        "ShadowComparedShareLow",
        fires=(
            of_runner("shadow_read_total", "0+100x60"),
            compared("match", "0+70x60"),
            of_runner("shadow_skipped_total", "0+30x60", cause="overlapped", **ROUTE),
        ),
        quiet=(
            of_runner("shadow_read_total", "0+100x60"),
            compared("match", "0+70x60"),
            of_runner("shadow_skipped_total", "0+30x60", cause="policy", **ROUTE),
        ),
    ),
    Case(
        "ShadowDrift",
        fires=(of_runner("shadow_drifted_rows_total", "0x28 1x30"),),
        quiet=(of_runner("shadow_drifted_rows_total", "1x60"),),
    ),
    Case(
        "ShadowStrays",
        fires=(of_runner("shadow_stray_transactions_total", "0x28 1x30"),),
        quiet=(of_runner("shadow_stray_transactions_total", "1x60"),),
    ),
    Case(
        "ShadowCaptureInterrupted",
        fires=(of_runner("shadow_resyncs_total", FIRST_LATE, reason="interrupted"),),
        quiet=(of_runner("shadow_resyncs_total", FIRST_LATE, reason="start"),),
    ),
    Case(
        "ShadowResyncPending",
        fires=(of_runner("shadow_resync_pending", "1x60"),),
        quiet=(of_runner("shadow_resync_pending", "1x10 0 1x10"),),
    ),
    Case(
        "ShadowStoreAway",
        fires=(of_runner("shadow_retries_total", "0+6x60", what="store"),),
        quiet=(of_runner("shadow_retries_total", "0+6x60", what="align"),),
    ),
    Case(
        "ShadowRunnerErrors",
        fires=(of_runner("shadow_errors_total", FIRST_LATE, place="item"),),
        quiet=(of_runner("shadow_errors_total", "1x60", place="item"),),
    ),
    Case(
        "ShadowRulesRefused",
        fires=(of_runner("shadow_rules_reloads_total", FIRST_LATE, result="refused"),),
        quiet=(of_runner("shadow_rules_reloads_total", FIRST_LATE, result="taken"),),
    ),
    Case("ShadowProxyDown", fires=(of_proxy("up", "1x25 0x35"),), quiet=(of_proxy("up", "1x60"),)),
    Case("ShadowProxyDown", fires=(), quiet=(of_proxy("up", "1x60"),)),
    Case("ShadowRunnerDown", fires=(of_runner("up", "1x25 0x35"),), quiet=(of_runner("up", "1x60"),)),
    Case("ShadowRunnerDown", fires=(of_proxy("up", "1x60"),), quiet=(of_runner("up", "1x60"),)),
    Case("ShadowCandidateDown", fires=(of_candidate("up", "1x25 0x35"),), quiet=(of_candidate("up", "1x60"),)),
    Case(
        "ShadowBackendEjected",
        fires=(of_proxy("shadow_backend_ejected", "0x20 1x40", side="candidate"),),
        quiet=(of_proxy("shadow_backend_ejected", "0x60", side="candidate"),),
    ),
    Case(
        "ShadowBackendUnhealthy",
        fires=(of_proxy("shadow_backend_healthy", "0x60", side="legacy"),),
        quiet=(of_proxy("shadow_backend_healthy", "1x60", side="legacy"),),
    ),
    Case(
        "ShadowConfigRefused",
        fires=(of_proxy("shadow_config_reloads_total", FIRST_LATE, result="refused"),),
        quiet=(of_proxy("shadow_config_reloads_total", FIRST_LATE, result="taken"),),
    ),
    Case(
        "ShadowProxyRestarted",
        fires=(of_proxy("shadow_worker_restarts_total", "0x28 1x30"),),
        quiet=(of_proxy("shadow_worker_restarts_total", "1x60"),),
    ),
    Case(
        "ShadowRolledBack",
        fires=(of_proxy("shadow_rolled_back", "1x60"),),
        quiet=(of_proxy("shadow_rolled_back", "0x60"),),
    ),
    Case(
        "ShadowProxiesDisagree",
        fires=(SHARE, Series("shadow_candidate_share_ratio", PROXY | {"instance": "other"}, "0.5x60")),
        quiet=(SHARE, Series("shadow_candidate_share_ratio", PROXY | {"instance": "other"}, "1x60")),
    ),
)
