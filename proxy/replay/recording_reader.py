"""A recording prepared for a replay: its selected records, in order, with route and key. It can be read several times."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from proxy.journal.redaction import JournalRedactor
from proxy.journal.sealing import JournalKeys
from proxy.recordings.counts import ReadCounts
from proxy.recordings.model import RecordedExchange
from proxy.recordings.reader import STANDARD_INPUT, read
from proxy.replay.errors import OptionError
from proxy.replay.schedule import Condition, Selection, in_order, parse_time
from proxy.serving.routing import KeySource, Route, key_from_body, match_route


@dataclass(frozen=True, slots=True)
class TimeSpan:
    """The number of selected records, and the first and last start of all records, Unix nanoseconds (0 without times)."""

    count: int
    first_ns: int
    last_ns: int


def with_route(recorded: RecordedExchange, routes: Sequence[Route]) -> RecordedExchange:
    """Return the record with the route and key of the configuration, where the recording has none."""
    if recorded.route:
        return recorded
    request = recorded.request
    headers = {name.lower(): value for name, value in reversed(request.headers)}
    route, key = match_route(routes, request.method, request.target, headers.get)
    if route is None:
        return recorded
    if route.key_source is KeySource.BODY:
        key = key_from_body(route, request.body)
    return replace(recorded, route=route.name, key=recorded.key or key)


@dataclass(slots=True)
class Recording:
    """A recording and the selection from it.

    Attributes:
        source: file, folder or `-`.
        format_name: its format; None to detect it.
        keys: open a journal.
        redactor: replaces the secrets of a journal; None leaves them.
        host: of the requests, where the format does not record it.
        bodies: a folder whose files the recording may name as bodies, besides its own.
        routes: of the configuration.
        conditions: of `--filter`.
        begin, end: of `--from` and `--until`; "" for none.
        counts: of its records, complete after `survey`; of the standard input at the end of `records`.
    """

    source: str
    format_name: str | None = None
    keys: JournalKeys | None = None
    redactor: JournalRedactor | None = None
    host: str = ""
    bodies: Path | None = None
    routes: Sequence[Route] = ()
    conditions: Sequence[Condition] = ()
    begin: str = ""
    end: str = ""
    counts: ReadCounts = field(default_factory=ReadCounts)
    _selection: Selection | None = None

    def survey(self, inspect: Callable[[RecordedExchange], None] = lambda _: None) -> TimeSpan | None:
        """Read the recording and return its span; None for the standard input, which can be read only once.

        Args:
            inspect: called with each selected record, in the order of the recording.

        Raises:
            RecordingError: it cannot be read.
            OptionError: `--from` or `--until` is malformed, or relative to a recording that can be read only once.
        """
        if self.source == STANDARD_INPUT:
            if self.begin.startswith("+") or self.end.startswith("+"):
                raise OptionError(
                    "--from and --until +DURATION need a recording that can be read twice, not the standard input"
                )
            self._select(0)
            return None
        first_ns = last_ns = 0
        for recorded in self._read(ReadCounts()):
            if recorded.started_ns:
                first_ns = min(first_ns or recorded.started_ns, recorded.started_ns)
                last_ns = max(last_ns, recorded.started_ns)
        selection = self._select(first_ns)
        count = 0
        self.counts = ReadCounts()
        for recorded in filter(selection.includes, self._read(self.counts)):
            count += 1
            inspect(recorded)
        return TimeSpan(count, first_ns, last_ns)

    def records(self) -> Iterator[RecordedExchange]:
        """Yield the selected records by their starts; call `survey` first."""
        assert self._selection is not None, "survey comes first: it makes the selection"
        counts = self.counts if self.source == STANDARD_INPUT else ReadCounts()
        return in_order(filter(self._selection.includes, self._read(counts)))

    def _select(self, first_ns: int) -> Selection:
        begin = parse_time(self.begin, first_ns) if self.begin else None
        end = parse_time(self.end, first_ns) if self.end else None
        self._selection = Selection(begin, end, self.conditions)
        return self._selection

    def _read(self, counts: ReadCounts) -> Iterator[RecordedExchange]:
        """Yield all requests, and count all records."""
        items = read(
            self.source,
            format_name=self.format_name,
            keys=self.keys,
            redactor=self.redactor,
            host=self.host,
            bodies=self.bodies,
        )
        for item in items:
            counts.add(item)
            if isinstance(item, RecordedExchange):
                yield with_route(item, self.routes)
