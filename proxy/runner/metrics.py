"""Metrics of the shadow runner. Every exchange that it reads ends in exactly one of compared, skipped, failed or dropped."""

from collections.abc import Callable
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from comparator.exchanges.model import EffectsOutcome, Role

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""Bucket bounds of the OpenTelemetry HTTP conventions."""


class RetriedStep(StrEnum):
    """Steps that are repeated until a database answers; labels of `shadow_retries_total`."""

    ALIGN = "align"
    LOOKUP = "lookup"
    MIRRORED_FENCE = "mirrored_fence"
    REPAIR = "repair"
    RESYNC = "resync"
    SERVED_FENCE = "served_fence"
    STORE = "store"


class ErrorPlace(StrEnum):
    """Parts in which the runner survives an unexpected error; labels of `shadow_errors_total`."""

    ITEM = "item"
    """An item that was carried out: a mirrored run, an alignment or a repair."""
    STORE = "store"
    """An outcome that was stored without its details, because the store refused them."""
    COMMIT = "commit"
    """A position that was to be committed."""
    UPKEEP = "upkeep"
    """A task beside the comparing, e.g. the maintenance of the store; it was started again."""
    INTAKE = "intake"
    """The reading of the journal; an exchange that cannot be decided on is skipped as `internal`."""
    CAPTURE = "capture"
    """A captured transaction that could not be taken; a resync follows."""
    DISPATCH = "dispatch"
    """The starting of items, and resyncs."""
    HOUSEKEEPING = "housekeeping"
    """The work at intervals: releasing, shedding, repairing, committing."""
    SCHEMA = "schema"
    """The watch over the tables' definitions."""
    VERDICT = "verdict"
    """A result on its way to the store; it is skipped as `internal`."""
    SAVING = "saving"
    """The saving of outcomes."""


class RunnerDropCause(StrEnum):
    """Causes for which exchanges are lost between journal and comparison; labels of `shadow_dropped_total`."""

    JOURNAL = "journal"
    """Not in the journal: dropped or lost by its writer, deleted unread, or damaged."""
    UNDECODABLE = "undecodable"
    """In the journal, but it cannot be decoded, for example because it was sealed with a key that is gone."""


class RunnerMetrics:
    """The runner's metrics in one registry. Label values are closed sets: routes, sides, roles and enumerations."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.read = Counter("shadow_read_total", "Exchanges read from the journal.", registry=registry)
        self.compared = Counter(
            "shadow_compared_total", "Exchanges compared, by verdict.", ["route", "verdict"], registry=registry
        )
        self.response_only = Counter(
            "shadow_response_only_total",
            "Exchanges compared by their responses alone, by verdict and by the reason for which rows were not compared.",
            ["route", "verdict", "reason"],
            registry=registry,
        )
        self.in_part = Counter(
            "shadow_compared_in_part_total",
            "Exchanges whose rows were compared except those of some tables, by verdict; shadow_left_out_tables_total names the tables.",
            ["route", "verdict"],
            registry=registry,
        )
        self.skipped = Counter(
            "shadow_skipped_total",
            "Exchanges not mirrored or not compared, by cause.",
            ["route", "cause"],
            registry=registry,
        )
        self.failed = Counter(
            "shadow_failed_total",
            "Exchanges whose mirrored run failed, by cause.",
            ["route", "cause"],
            registry=registry,
        )
        self.dropped = Counter(
            "shadow_dropped_total",
            "Exchanges lost between journal and comparison, by cause.",
            ["cause"],
            registry=registry,
        )
        self.other_slice = Counter(
            "shadow_other_slice_total",
            "Exchanges that the runner of another slice mirrors or counts; not among those skipped.",
            registry=registry,
        )
        self.in_flight = Gauge(
            "shadow_in_flight", "Exchanges in the journal that have no outcome yet.", registry=registry
        )
        self.waiting = Gauge(
            "shadow_waiting", "Mirrored runs and changes of live that wait for the shadow.", registry=registry
        )
        self.resyncing = Gauge(
            "shadow_resync_pending", "1 while whole tables are compared, or have to be.", registry=registry
        )
        self.lag = Gauge("shadow_lag_seconds", "Age of the oldest exchange without an outcome.", registry=registry)
        self.effects = Counter(
            "shadow_effects_total",
            "Sets of row changes, by role and outcome of their attribution.",
            ["role", "outcome"],
            registry=registry,
        )
        self.background = Counter(
            "shadow_background_transactions_total",
            "Transactions of live that belong to no exchange.",
            registry=registry,
        )
        self.strays = Counter(
            "shadow_stray_transactions_total",
            "Transactions of the shadow that no mirrored request made; they are undone.",
            registry=registry,
        )
        self.given_up = Counter(
            "shadow_given_up_total",
            "Mirrored requests without a response whose late writes are no longer waited for: answered, seen, lost.",
            ["result"],
            registry=registry,
        )
        self.unsettled = Gauge(
            "shadow_unsettled",
            "Mirrored requests without a response whose late writes are waited for.",
            registry=registry,
        )
        self.untagged = Gauge(
            "shadow_side_untagged",
            "1 while a side of runner.tagged_sides does not name its requests in its transactions.",
            ["role", "side"],
            registry=registry,
        )
        self.aligned_rows = Counter(
            "shadow_aligned_rows_total", "Rows of the shadow written to equal live.", registry=registry
        )
        self.drifted_rows = Counter(
            "shadow_drifted_rows_total",
            "Rows of the shadow that differed from what they should have held.",
            registry=registry,
        )
        self.sampled_rows = Counter(
            "shadow_sampled_rows_total",
            "Rows of live that were compared with the shadow's although nothing had touched them.",
            registry=registry,
        )
        self.resyncs = Counter(
            "shadow_resyncs_total", "Comparisons of whole tables, by reason.", ["reason"], registry=registry
        )
        self.schema_differs = Gauge(
            "shadow_table_schema_differs",
            "1 while live and shadow define the table differently, or until it is equal again.",
            ["table"],
            registry=registry,
        )
        self.not_captured = Gauge(
            "shadow_table_not_captured",
            "1 for each table of live or shadow whose rows are not captured.",
            ["table"],
            registry=registry,
        )
        self.resynced_rows = Counter("shadow_resynced_rows_total", "Rows that resyncs wrote.", registry=registry)
        self.confirmations = Counter(
            "shadow_confirmations_total",
            "Mismatches by whether they were run a second time: run, left_out.",
            ["result"],
            registry=registry,
        )
        self.mirrored_seconds = Histogram(
            "shadow_mirrored_duration_seconds",
            "Duration of mirrored requests.",
            ["route", "side"],
            buckets=SECONDS,
            registry=registry,
        )
        self.mismatch_journal_written = Counter(
            "shadow_mismatch_journal_written_total",
            "Mismatching exchanges copied to the mismatch journal.",
            ["route"],
            registry=registry,
        )
        self.mismatch_journal_dropped = Gauge(
            "shadow_mismatch_journal_dropped",
            "Mismatching exchanges since the start that could not be copied to the mismatch journal.",
            registry=registry,
        )
        self.missing = Gauge(
            "shadow_exchanges_missing",
            "Exchanges that were read and have neither an outcome in the store nor a place in memory.",
            ["writer"],
            registry=registry,
        )
        self.unwritten = Gauge(
            "shadow_exchanges_unwritten",
            "Exchanges that a proxy process served and had not written when it ended.",
            ["writer"],
            registry=registry,
        )
        self.lease_held = Gauge(
            "shadow_lease_held",
            "1 while this runner holds the lease of its name on a shared journal; 0 while it waits for it.",
            ["reader"],
            registry=registry,
        )
        self.reader_away = Gauge(
            "shadow_reader_away",
            "1 while no runner holds the lease of this reader of a shared journal, also where none was ever started; of each slice.",
            ["reader"],
            registry=registry,
        )
        self.trim_failures = Counter(
            "shadow_journal_trim_failures_total",
            "Times that exchanges which every reader has committed could not be deleted from the broker of a shared journal.",
            registry=registry,
        )
        self.broker_up = Gauge(
            "shadow_broker_up", "1 while the broker of a shared journal answers the runner.", registry=registry
        )
        self.writer_unread = Gauge(
            "shadow_writer_unread",
            "Exchanges in the spool of a writer of a shared journal that the runner has not read.",
            ["writer"],
            registry=registry,
        )
        self.writer_lag = Gauge(
            "shadow_writer_lag_seconds",
            "Age of the time up to which the runner has read everything of a writer of a shared journal.",
            ["writer"],
            registry=registry,
        )
        self.writer_silent = Gauge(
            "shadow_writer_silent",
            "1 while a writer of a shared journal does not report, so that the runner does not wait for it.",
            ["writer"],
            registry=registry,
        )
        self.writer_clock_ahead = Gauge(
            "shadow_writer_clock_ahead_seconds",
            "How far the clock of a writer's machine is ahead of the broker's.",
            ["writer"],
            registry=registry,
        )
        self.writer_lost = Counter(
            "shadow_writer_lost_total",
            "Exchanges of a writer of a shared journal that the runner could not read.",
            ["writer"],
            registry=registry,
        )
        self.wal_retained = Gauge(
            "shadow_capture_log_retained_bytes",
            "Write-ahead log that the database of a side keeps for the runner's replication slot: served (live) or mirrored (shadow).",
            ["role"],
            registry=registry,
        )
        self.retries = Counter(
            "shadow_retries_total", "Steps repeated because a database did not answer.", ["step"], registry=registry
        )
        self.errors = Counter(
            "shadow_errors_total",
            "Unexpected errors after which the runner continued, by place.",
            ["place"],
            registry=registry,
        )

    def watch(
        self,
        *,
        in_flight: Callable[[], float],
        lag_s: Callable[[], float],
        waiting: Callable[[], float],
        resync: Callable[[], float],
    ) -> None:
        """Set the functions that compute the gauges when they are scraped."""
        self.waiting.set_function(waiting)
        self.resyncing.set_function(resync)
        self.in_flight.set_function(in_flight)
        self.lag.set_function(lag_s)

    def count_effects(self, role: Role, outcome: EffectsOutcome) -> None:
        """Count the row changes of one side of an exchange; with `off` there are none to count."""
        if outcome is not EffectsOutcome.OFF:
            self.effects.labels(role.value, outcome.value).inc()

    @property
    def ended(self) -> float:
        """Exchanges that have their outcome, or were lost."""
        counters = (self.compared, self.skipped, self.failed, self.dropped, self.other_slice)
        samples = [s for c in counters for metric in c.collect() for s in metric.samples]
        return sum(s.value for s in samples if s.name.endswith("_total"))
