"""Wires `checkpoint` to the journal's reader and live's capture, where the log of live is kept over a restart."""

from comparator.capture.settings import Driver, SlotKind
from comparator.exchanges.model import Role
from proxy.config.settings import Settings
from proxy.journal.reader import SegmentReader
from proxy.runner.checkpoint import CheckpointCommitter, Checkpoints
from proxy.runner.ledger import Place
from proxy.runner.runner import Runner


def checkpoints_of(settings: Settings) -> Checkpoints | None:
    """What a restart goes by; None where a restart loses what was committed meanwhile."""
    capture, options = settings.capture, settings.runner
    if capture.driver is not Driver.STREAM or capture.slot.kind is not SlotKind.PERSISTENT:
        return None
    return Checkpoints(options.clock_skew_ms * 1_000, options.post_response_wait_ms * 1_000)


def resuming_of(checkpoints: Checkpoints, reader: SegmentReader, runner: Runner) -> CheckpointCommitter:
    """Lets go of the journal of `reader` and of the log behind the runner's capture of live."""
    served, ledger = runner.standing.feeds[Role.SERVED], runner.ledger

    def confirm(place: Place | None) -> None:
        if place == ledger.last_place:
            # Behind it there is nothing but fences and what others wrote: their log must go as well.
            served.confirm(None)
        elif place is not None:
            served.confirm(place[1])

    return CheckpointCommitter(checkpoints, reader.live_us, ledger.dealt_with_before, reader.commit, confirm)
