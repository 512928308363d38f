"""A recording prepared for a replay: its selected records, in order, with route and key. It can be read several times."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from proxy.journal.redaction import RedactionKeys
from proxy.recordings.errors import RecordingError
from proxy.recordings.model import MalformedRecord, RecordedExchange
from proxy.recordings.reader import read
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
        keys: unseal the secrets of a journal.
        host: of the requests, where the format does not record it.
        bodies: a folder whose files the recording may name as bodies, besides its own.
        routes: of the configuration.
        conditions: of `--filter`.
        begin, end: of `--from` and `--until`; "" for none.
        malformed: records of the last reading that could not be parsed.
    """

    source: str
    format_name: str | None = None
    keys: RedactionKeys | None = None
    host: str = ""
    bodies: Path | None = None
    routes: Sequence[Route] = ()
    conditions: Sequence[Condition] = ()
    begin: str = ""
    end: str = ""
    malformed: list[MalformedRecord] = field(default_factory=list[MalformedRecord])
    _selection: Selection | None = None

    def survey(self) -> TimeSpan | None:
        """Read the recording once and return its span; None for the standard input, which can be read only once.

        Raises:
            RecordingError: it cannot be read.
            OptionError: `--from` or `--until` is malformed, or relative to a recording that can be read only once.
        """
        if self.source == "-":
            if self.begin.startswith("+") or self.end.startswith("+"):
                raise OptionError(
                    "--from and --until +DURATION need a recording that can be read twice, not the standard input"
                )
            self._select(0)
            return None
        times = [recorded.started_ns for recorded in self._read() if recorded.started_ns]
        first_ns, last_ns = (min(times), max(times)) if times else (0, 0)
        self._select(first_ns)
        return TimeSpan(sum(1 for _ in self.records()), first_ns, last_ns)

    def records(self) -> Iterator[RecordedExchange]:
        """Yield the selected records by their starts; call `survey` first."""
        assert self._selection is not None, "survey comes first: it makes the selection"
        return in_order(filter(self._selection.includes, self._read()))

    def _select(self, first_ns: int) -> None:
        begin = parse_time(self.begin, first_ns) if self.begin else None
        end = parse_time(self.end, first_ns) if self.end else None
        self._selection = Selection(begin, end, self.conditions)

    def _read(self) -> Iterator[RecordedExchange]:
        """Yield all records and note malformed ones. A recording that is truncated ends with its last whole record."""
        malformed: list[MalformedRecord] = []
        count = 0
        try:
            for item in read(
                self.source, format_name=self.format_name, keys=self.keys, host=self.host, bodies=self.bodies
            ):
                if isinstance(item, MalformedRecord):
                    malformed.append(item)
                    continue
                count += 1
                yield with_route(item, self.routes)
        except RecordingError as error:
            if not count:
                raise
            malformed.append(MalformedRecord(self.source, str(error)))
        self.malformed = malformed
