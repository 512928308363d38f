"""The section `runner:` of config.yaml: concurrency, waits and confirmation of the shadow runner. Pure."""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from comparator.exchanges.model import Side
from proxy.config.constraints import Count, NonNegative, Port, Positive, PositiveCount


class Resync(StrEnum):
    """Reaction to a gap in the capture of row changes: compare whole tables and copy what differs, or none."""

    AUTO = "auto"
    OFF = "off"


SliceName = Annotated[str, Meta(pattern="^[a-z][a-z0-9_]{0,15}$")]


class SliceSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of several runners that share the mirroring: a complete one, with a shadow database of its own, for its slice of the keys."""

    name: SliceName
    """Name of the slice, as in `shadow runner --slice NAME`; with `runner.name` it is the name of the reader: `mirror.NAME`."""
    shadow: str
    """Shadow database of the slice, a libpq URI, in place of `databases.shadow`."""
    candidate: str = ""
    """URL of the candidate's instance on it, in place of `backends.candidate.shadow.url`; empty: there is none."""
    legacy: str = ""
    """URL of the legacy's instance on it, in place of `backends.legacy.shadow.url`; empty: there is none."""
    host: str = "127.0.0.1"
    """Address of the runner's admin port, as the other commands reach it."""
    port: Port = 9902
    """Admin port of this slice's runner."""


class RunnerSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The shadow runner."""

    name: str = "mirror"
    """Name of the runner as a reader of the journal; its committed offset is where a restart resumes."""
    concurrency: PositiveCount = 16
    """Mirrored requests in flight at a time."""
    queue_max: PositiveCount = 2_000
    """Exchanges that may wait. Beyond it the mirrored run is skipped (`overload`); changes of live are still applied."""
    rows_max: PositiveCount = 100_000
    """Changed rows of live that may wait for the shadow, besides those of the largest transaction. Beyond it they are dropped, and the
    shadow is resynced by whole tables."""
    batch_max: PositiveCount = 256
    """Exchanges read from the journal at a time."""
    timeout_s: Positive = 10.0
    """Time after which a mirrored request has failed. Its response is awaited further, without a limit, and nothing is compared on its keys
    until it has come and its late writes are taken back."""
    unsettled_s_max: Positive = 60.0
    """Longest time that a shadow instance works on a request whose connection has broken. Nothing is compared on its keys meanwhile, unless
    its late writes are seen and taken back before, and `timeout_s` have passed without another one; then its rows are copied from live
    again. A runner that starts after one was killed waits as long first: requests that the killed one sent may still be writing. Choose more than
    the time after which the service itself ends a request: rows that one writes later still, from a side that does not name its requests,
    are taken for those of another request on the key, which is then reported as different."""
    claim_wait_ms: Count = 3_000
    """Time a live transaction waits for the exchange that made it; then it is background. An exchange that took longer is not
    compared (`slow`), because its changes may have been released already."""
    clock_skew_ms: Count = 5
    """Largest difference between the clocks of proxy and database. Requests of one key that are closer than twice this are
    `overlapped`."""
    post_response_wait_ms: Count = 0
    """Time after its response in which a service may still write for a request."""
    tagged_sides: tuple[Side, ...] = (Side.CANDIDATE,)
    """Sides that name the request in their transactions, by `pg_logical_emit_message(true, 'shadow.request', X-Request-Id)`."""
    align: bool = True
    """Make the shadow equal to live after each comparison; `false` only where rows are not compared."""
    confirm: bool = True
    """Run a mismatching request once more from the aligned state before it counts."""
    confirm_per_s_max: NonNegative = 5.0
    """Confirmations started per second; mismatches beyond it are stored as unconfirmed, and counted."""
    resync: Resync = Resync.AUTO
    """After a gap in the capture: `auto` brings the shadow back to live by comparing whole tables, `off` does not."""
    sample_every_s: NonNegative = 10.0
    """Pause between two pages of rows that are compared although nothing has touched them, so that drift which no write shows is
    found; 0 compares none. One table after the other has its turn, and within it one page after the other."""
    sample_rows: PositiveCount = 100
    """Rows of such a page: live reads as many along the primary key, by one query every `sample_every_s`. A table without a primary
    key is read as a whole instead, while it has at most 5,000 rows."""
    host: str = "127.0.0.1"
    """Address of the runner's admin port."""
    port: Port = 9902
    """Runner's admin port: /metrics, /healthz, /status."""
    slices: tuple[SliceSettings, ...] = ()
    """Several runners, each of which mirrors the requests of its slice of the keys; empty: one runner mirrors all. Needs `journal.driver:
    valkey`, and the capture driver `stream` or `off`."""
    slice: str = ""
    """The slice of this configuration; `--slice NAME` of a command sets it."""

    @property
    def reader(self) -> str:
        """Name under which this runner reads the journal, holds its lease and stores what ended."""
        return f"{self.name}.{self.slice}" if self.slice else self.name

    @property
    def readers(self) -> tuple[str, ...]:
        """The names of the runners of all slices; of the only one without slices."""
        return tuple(f"{self.name}.{one.name}" for one in self.slices) or (self.name,)

    @property
    def urls(self) -> tuple[str, ...]:
        """The base URLs of the admin ports of all runners, in the order of `readers`."""
        return tuple(f"http://{one.host}:{one.port}" for one in self.slices) or (f"http://{self.host}:{self.port}",)
