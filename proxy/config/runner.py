"""The `runner:` section of config.yaml: how much the shadow runner does at once, how long it waits, what it confirms."""

from typing import Annotated

from msgspec import Meta

from comparator.exchanges.model import Side
from comparator.tables import Struct


class RunnerSettings(Struct, frozen=True, kw_only=True):
    """Times are in the unit of the name's ending.

    Attributes:
        name: the journal reader's name; its committed offset is where a restart resumes.
        concurrency: mirrored requests at the same time.
        queue_max: exchanges that may wait; beyond it the mirrored run is skipped and counted, live's changes are applied.
        rows_max: changed rows of live that may wait for the shadow; beyond it they are forgotten and the shadow is resynced.
        timeout_s: until a mirrored request counts as failed.
        fence_timeout_s: until a database that delivers no changes counts as interrupted.
        claim_wait_ms: how long a live transaction that no exchange has claimed waits before it is background. An exchange that
            took longer than this is not compared (`skipped`, cause `slow`), because its changes may have been let go.
        clock_skew_ms: how far the proxy's clock and the database's may differ.
        post_response_wait_ms: how long after its response a service may still write for the request.
        tagged_sides: sides that name the request in their transactions (the new scorer does).
        align: keep the shadow equal to live; False only for a shadow that nobody compares row by row.
        confirm: run a mismatching request once more from the aligned state before it counts.
        confirm_per_s_max: confirmations started a second; beyond it mismatches are stored as unconfirmed, and counted.
        resync: bring the shadow back to live by whole-table comparison after a gap in the capture: auto or off.
        host, port: the runner's admin port (metrics, health); 0 chooses a free port.
    """

    name: str = "mirror"
    concurrency: Annotated[int, Meta(ge=1)] = 16
    queue_max: int = 2_000
    rows_max: int = 100_000
    batch_max: Annotated[int, Meta(ge=1)] = 256
    timeout_s: float = 10.0
    fence_timeout_s: float = 15.0
    claim_wait_ms: int = 3_000
    clock_skew_ms: int = 5
    post_response_wait_ms: int = 0
    tagged_sides: tuple[Side, ...] = (Side.CANDIDATE,)
    align: bool = True
    confirm: bool = True
    confirm_per_s_max: float = 5.0
    resync: str = "auto"
    host: str = "127.0.0.1"
    port: int = 9902
