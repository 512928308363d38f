"""One replay: plays a recording, stores its progress, and builds the report."""

import asyncio
import contextlib
import datetime as dt
import itertools
import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from comparator.exchanges.model import Request
from proxy.recordings.model import RecordedExchange
from proxy.replay import resume_state as statefile
from proxy.replay.credentials import ReplayCredentials
from proxy.replay.player import Player
from proxy.replay.recording_reader import Recording, TimeSpan
from proxy.replay.report import (
    CauseReport,
    ExchangeReport,
    FindingReport,
    ReplayFacts,
    ReplayReport,
    Verdicts,
    build_report,
    read_report,
)
from proxy.replay.schedule import Pace, ScheduledRequest, schedule
from proxy.replay.tally import LeftOut, Tally
from proxy.runner.mirror_client import MirroredResponse

STATE_S = 1.0


class TargetSender(Protocol):
    """Send requests to an instance."""

    async def request(self, request: Request, *, request_id: str) -> MirroredResponse:
        """Send a request and return its outcome; a failure is a value."""
        ...


class RecordHandler(Protocol):
    """Handle the requests of a replay, one at a time for each key, and return the results of comparing them."""

    async def handle(
        self, request: ScheduledRequest, recorded: RecordedExchange, due_ns: int | None, *, credentials_missing: bool
    ) -> None:
        """Send a request and count the result.

        Args:
            request: as scheduled.
            recorded: its record, with usable credentials.
            due_ns: when it was due, by `perf_counter_ns`; None for now.
            credentials_missing: some of its credentials are still digests or placeholders.
        """
        ...

    def verdicts(self) -> Mapping[str, Verdicts]:
        """Return the verdicts by route; empty where nothing is compared."""
        ...

    def findings(self) -> Sequence[FindingReport]:
        """Return the findings, the most frequent first."""
        ...

    def causes(self) -> Sequence[CauseReport]:
        """Return the causes of the mismatches, the largest first."""
        ...

    def exchanges(self) -> ExchangeReport:
        """Return the ids of the exchanges that differ, by cause."""
        ...

    def digest(self) -> str:
        """Return a digest of all verdicts, equal for replays with equal results."""
        ...


@dataclass(slots=True)
class OneSide:
    """Send each request to one side."""

    side: str
    target: TargetSender
    tally: Tally

    async def handle(
        self, request: ScheduledRequest, recorded: RecordedExchange, due_ns: int | None, *, credentials_missing: bool
    ) -> None:
        """Send a request and count the result."""
        started_ns = time.perf_counter_ns()
        sent = await self.target.request(recorded.request, request_id=request_id(request))
        self.tally.add(
            self.side,
            recorded,
            sent.outcome,
            wait_ns=max(0, started_ns - due_ns) if due_ns is not None else 0,
            service_ns=sent.duration_ns,
            credentials_missing=credentials_missing,
        )

    def verdicts(self) -> Mapping[str, Verdicts]:
        """Return no verdicts."""
        return {}

    def findings(self) -> Sequence[FindingReport]:
        """Return no findings."""
        return ()

    def causes(self) -> Sequence[CauseReport]:
        """Return no causes."""
        return ()

    def exchanges(self) -> ExchangeReport:
        """Return no exchanges."""
        return ExchangeReport()

    def digest(self) -> str:
        """Return no digest."""
        return ""


def request_id(request: ScheduledRequest) -> str:
    """Return the recorded id, made unique for later passes; "" where there is none."""
    return (
        f"{request.recorded.id}-{request.pass_number}"
        if request.pass_number and request.recorded.id
        else request.recorded.id
    )


@dataclass(slots=True)
class Session:
    """A replay.

    Attributes:
        recording: surveyed.
        handler: sends the requests.
        tally: counts of `handler`.
        credentials: replace digests before sending.
        pace, loops, concurrency: see `schedule` and `Player`.
        to: the target, for the report.
        pace_text: the pace, for the report.
        state: file of the progress; None to store none.
        plays_cut: send requests of which only a part was recorded, too.
    """

    recording: Recording
    handler: RecordHandler
    tally: Tally
    credentials: ReplayCredentials
    pace: Pace
    loops: int
    concurrency: int
    to: str
    pace_text: str
    state: Path | None = None
    plays_cut: bool = False
    _last: ScheduledRequest | None = None
    _first_s: float = 0.0
    _player: Player | None = None
    _skip: int = 0
    _beyond: frozenset[int] = frozenset()
    _began: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))

    @property
    def fingerprint(self) -> str:
        """The name of this replay in a state file: recording, selection and target."""
        recording = self.recording
        return f"{recording.source} from {recording.begin or '-'} until {recording.end or '-'} to {self.to}"

    async def play(self, stop: asyncio.Event) -> ReplayReport:
        """Play until the end or until `stop` is set, and return the report.

        Raises:
            ResumeStateError: the state file belongs to another replay, or cannot be read.
        """
        done = (
            statefile.load(self.state, self.fingerprint)
            if self.state
            else statefile.ResumeState(1, self.fingerprint, 0)
        )
        self._skip, self._beyond = done.done, frozenset(done.done_beyond)
        player = Player(self._handle, self.concurrency, self.pace.open)
        self._player = player
        self._began = dt.datetime.now(dt.UTC)
        async with self._saving_state(player):
            finished = await player.play(self._schedule(), stop)
        duration_s = asyncio.get_running_loop().time() - player.started_s
        if finished and self.state:
            self.state.unlink(missing_ok=True)
        return self._report(duration_s, finished=finished)

    def total(self, span: TimeSpan | None) -> int | None:
        """Return the number of requests to send; None when that is unknown."""
        return span.count * self.loops if span and self.loops else None

    @property
    def done(self) -> int:
        """Number of records done, including those of an interrupted run."""
        return self._skip + (self._player.watermark.low if self._player else 0)

    def _schedule(self) -> Iterator[ScheduledRequest]:
        """Yield the schedule without requests that are done already, moved so that the first is due at once."""
        rest = itertools.islice(schedule(self.recording.records, self.pace, loops=self.loops), self._skip, None)
        for number, request in enumerate(rest):
            if number + self._skip in self._beyond:
                if self._player:
                    self._player.watermark.complete(number)
                continue
            if self._last is None:
                self._first_s = request.offset_s
            self._last = replace(request, number=number, offset_s=request.offset_s - self._first_s)
            yield self._last

    def _state(self, player: Player) -> statefile.ResumeState:
        beyond = {number + self._skip for number in player.watermark.beyond} | self._beyond
        low = self._skip + player.watermark.low
        return statefile.ResumeState(
            1, self.fingerprint, low, tuple(sorted(number for number in beyond if number >= low))
        )

    async def _handle(self, request: ScheduledRequest, due_s: float | None) -> None:
        if request.recorded.request.body_truncated and not self.plays_cut:
            self.tally.left_out[LeftOut.CUT] += 1
            return
        rewritten = self.credentials.rewrite(request.recorded.request, now_s=int(time.time()))
        for name in ("replaced", "unresolved", "signed"):
            self.tally.credentials[name] += getattr(rewritten, name)
        recorded = replace(request.recorded, request=rewritten.request)
        due_ns = None
        if due_s is not None:
            ago_s = asyncio.get_running_loop().time() - due_s
            due_ns = time.perf_counter_ns() - round(ago_s * 1e9)
        await self.handler.handle(request, recorded, due_ns, credentials_missing=bool(rewritten.missing))

    @contextlib.asynccontextmanager
    async def _saving_state(self, player: Player) -> AsyncGenerator[None]:
        """Store the progress every STATE_S during the block, and at its end."""
        state = self.state
        if state is None:
            yield
            return

        async def save(path: Path) -> None:
            while True:
                await asyncio.sleep(STATE_S)
                statefile.store(path, self._state(player))

        async with asyncio.TaskGroup() as tasks:
            saving = tasks.create_task(save(state), name="save-state")
            try:
                yield
            finally:
                saving.cancel()
                statefile.store(state, self._state(player))

    def _report(self, duration_s: float, *, finished: bool) -> ReplayReport:
        last = self._last
        rate = (last.number + 1) / last.offset_s if last and last.offset_s and self.pace.open else 0.0
        facts = ReplayFacts(
            source=self.recording.source,
            to=self.to,
            began=self._began.isoformat(timespec="seconds"),
            duration_s=duration_s,
            finished=finished,
            pace=self.pace_text,
            concurrency=self.concurrency,
            target_per_s=self.pace.rate_per_s or rate,
            resumed_at=self._skip,
            read=read_report(self.recording.counts),
            verdicts=self.handler.verdicts(),
            findings=tuple(self.handler.findings()),
            causes=tuple(self.handler.causes()),
            verdicts_digest=self.handler.digest(),
            exchanges=self.handler.exchanges(),
        )
        return build_report(self.tally, facts)
