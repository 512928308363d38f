"""One replay: plays a recording to a target, counts, remembers how far it is, and makes the report."""

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
from proxy.replay.report import FindingReport, ReplayFacts, ReplayReport, Verdicts, report_of
from proxy.replay.schedule import Pace, ScheduledRequest, due
from proxy.replay.tally import Tally
from proxy.runner.mirror_client import MirroredResponse

STATE_S = 1.0


class TargetSender(Protocol):
    """Sends a request to an instance."""

    async def request(self, request: Request, *, request_id: str) -> MirroredResponse:
        """A failure is a value."""
        ...


class RecordHandler(Protocol):
    """Does one record, whatever that means, and says what it found beside the counts."""

    async def do(self, one: ScheduledRequest, recorded: RecordedExchange, due_ns: int | None) -> None:
        """Send it and count it; `due_ns` is when it was due by `perf_counter_ns`, None for now."""
        ...

    def verdicts(self) -> Mapping[str, Verdicts]:
        """By route; empty where nothing is compared."""
        ...

    def findings(self) -> Sequence[FindingReport]:
        """What comparing found, the most frequent first."""
        ...

    def digest(self) -> str:
        """Names all verdicts."""
        ...


@dataclass(slots=True)
class OneSide:
    """Sends each record to one side."""

    side: str
    target: TargetSender
    tally: Tally

    async def do(self, one: ScheduledRequest, recorded: RecordedExchange, due_ns: int | None) -> None:
        """Send and count."""
        begun_ns = time.perf_counter_ns()
        sent = await self.target.request(recorded.request, request_id=request_id(one))
        waited_ns = max(0, begun_ns - due_ns) if due_ns is not None else 0
        self.tally.add(self.side, recorded, sent.outcome, waited_ns=waited_ns, took_ns=sent.duration_ns)

    def verdicts(self) -> Mapping[str, Verdicts]:
        """Nothing is compared."""
        return {}

    def findings(self) -> Sequence[FindingReport]:
        """Nothing is compared."""
        return ()

    def digest(self) -> str:
        """Nothing is compared."""
        return ""


def request_id(one: ScheduledRequest) -> str:
    """The id the recording has, made unique for later passes; "" where it has none."""
    return f"{one.recorded.id}-{one.turn}" if one.turn and one.recorded.id else one.recorded.id


@dataclass(slots=True)
class Session:
    """A replay about to be played.

    Attributes:
        recording: what is played; it has been surveyed.
        does: does each record.
        tally: where `does` counts.
        credentials: put in place before sending.
        pace, loops, concurrency: how.
        to: for the report.
        state: where to remember how far it is, None for nowhere.
    """

    recording: Recording
    does: RecordHandler
    tally: Tally
    credentials: ReplayCredentials
    pace: Pace
    loops: int
    concurrency: int
    to: str
    pace_words: str
    state: Path | None = None
    _last: ScheduledRequest | None = None
    _first_s: float = 0.0
    _player: Player | None = None
    _skip: int = 0
    _beyond: frozenset[int] = frozenset()
    _began: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))

    @property
    def fingerprint(self) -> str:
        """What a state file has to agree with."""
        recording = self.recording
        return f"{recording.source} from {recording.begin or '-'} until {recording.end or '-'} to {self.to}"

    async def play(self, stop: asyncio.Event) -> ReplayReport:
        """Play it, until its end or until `stop`.

        Raises:
            StateError: the state file is another replay's.
        """
        done = (
            statefile.load(self.state, self.fingerprint)
            if self.state
            else statefile.ResumeState(1, self.fingerprint, 0)
        )
        self._skip, self._beyond = done.done, frozenset(done.beyond)
        player = Player(self._carry, self.concurrency, self.pace.open)
        self._player = player
        self._began = dt.datetime.now(dt.UTC)
        async with self._remembering(player):
            finished = await player.play(self._schedule(), stop)
        duration_s = asyncio.get_running_loop().time() - player.begun_s
        if finished and self.state:
            self.state.unlink(missing_ok=True)
        return self._report(duration_s, finished=finished)

    def total(self, span: TimeSpan | None) -> int | None:
        """How many records there are to send; None when that cannot be known."""
        return span.count * self.loops if span and self.loops else None

    @property
    def done(self) -> int:
        """Records done, those of an earlier run included."""
        return self._skip + (self._player.mark.low if self._player else 0)

    def _schedule(self) -> Iterator[ScheduledRequest]:
        """What is due, without what is done already; it begins at once."""
        rest = itertools.islice(due(self.recording.records, self.pace, loops=self.loops), self._skip, None)
        for number, one in enumerate(rest):
            if number + self._skip in self._beyond:
                if self._player:
                    self._player.mark.done(number)
                continue
            if self._last is None:
                self._first_s = one.offset_s
            self._last = replace(one, number=number, offset_s=one.offset_s - self._first_s)
            yield self._last

    def _state(self, player: Player) -> statefile.ResumeState:
        beyond = {number + self._skip for number in player.mark.beyond} | self._beyond
        low = self._skip + player.mark.low
        return statefile.ResumeState(
            1, self.fingerprint, low, tuple(sorted(number for number in beyond if number >= low))
        )

    async def _carry(self, one: ScheduledRequest, due_s: float | None) -> None:
        if one.recorded.request.body_truncated:
            self.tally.left_out["cut_body"] += 1
            return
        rewritten = self.credentials.rewrite(one.recorded.request, now_s=int(time.time()))
        for name in ("opened", "left", "signed"):
            self.tally.credentials[name] += getattr(rewritten, name)
        recorded = replace(one.recorded, request=rewritten.request)
        due_ns = None
        if due_s is not None:
            ago_s = asyncio.get_running_loop().time() - due_s
            due_ns = time.perf_counter_ns() - round(ago_s * 1e9)
        await self.does.do(one, recorded, due_ns)

    @contextlib.asynccontextmanager
    async def _remembering(self, player: Player) -> AsyncGenerator[None]:
        """Keep the state file fresh for the block, and leave it true at its end."""
        state = self.state
        if state is None:
            yield
            return

        async def remember(path: Path) -> None:
            while True:
                await asyncio.sleep(STATE_S)
                statefile.store(path, self._state(player))

        async with asyncio.TaskGroup() as tasks:
            remembering = tasks.create_task(remember(state), name="remember")
            try:
                yield
            finally:
                remembering.cancel()
                statefile.store(state, self._state(player))

    def _report(self, duration_s: float, *, finished: bool) -> ReplayReport:
        last = self._last
        asked = (last.number + 1) / last.offset_s if last and last.offset_s and self.pace.open else 0.0
        facts = ReplayFacts(
            source=self.recording.source,
            to=self.to,
            began=self._began.isoformat(timespec="seconds"),
            duration_s=duration_s,
            finished=finished,
            pace=self.pace_words,
            concurrency=self.concurrency,
            asked_per_s=self.pace.rate_per_s or asked,
            resumed_at=self._skip,
            malformed=len(self.recording.malformed),
            verdicts=self.does.verdicts(),
            findings=tuple(self.does.findings()),
            verdicts_digest=self.does.digest(),
        )
        return report_of(self.tally, facts)
