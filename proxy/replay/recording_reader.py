"""A recording made ready to be played: its selected records, in order, with route and key, as often as asked."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from proxy.journal.redaction import RedactionKeys
from proxy.recordings.errors import RecordingError
from proxy.recordings.model import MalformedRecord, RecordedExchange
from proxy.recordings.reader import read
from proxy.replay.errors import OptionError
from proxy.replay.schedule import Condition, Selection, in_order, parse_moment
from proxy.serving.routing import KeySource, Route, key_from_body, match_route


@dataclass(frozen=True, slots=True)
class TimeSpan:
    """How many records are selected, and of all records the first start and the last (0 without times)."""

    count: int
    first_ns: int
    last_ns: int


def placed(recorded: RecordedExchange, routes: Sequence[Route]) -> RecordedExchange:
    """The record with the route and key that the configuration gives it, where the recording names none. Pure."""
    if recorded.route:
        return recorded
    request = recorded.request
    named = {name.lower(): value for name, value in reversed(request.headers)}
    found, key = match_route(routes, request.method, request.target, named.get)
    if found is None:
        return recorded
    if found.key_source is KeySource.BODY:
        key = key_from_body(found, request.body)
    return replace(recorded, route=found.name, key=recorded.key or key)


@dataclass(slots=True)
class Recording:
    """A source with what is wanted of it.

    Attributes:
        source: file, folder or `-`.
        format_name: its format; None to detect it.
        keys: open what a journal has sealed.
        host: of the requests, where the format does not say.
        bodies: a folder whose files may be bodies, besides the recording's own.
        routes: give routes and keys.
        conditions: of `--filter`.
        begin, end: of `--from` and `--until`, "" for none.
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
        """Read the source once to learn its span; None for the standard input, which can be read but once.

        Raises:
            SourceError: it cannot be read.
            OptionError: `--from` or `--until` makes no sense, or needs a source that can be read twice.
        """
        if self.source == "-":
            if self.begin.startswith("+") or self.end.startswith("+"):
                raise OptionError("--from +DURATION needs a source that can be read twice")
            self._select(0)
            return None
        times = [one.started_ns for one in self._read() if one.started_ns]
        first_ns, last_ns = (min(times), max(times)) if times else (0, 0)
        self._select(first_ns)
        return TimeSpan(sum(1 for _ in self.records()), first_ns, last_ns)

    def records(self) -> Iterator[RecordedExchange]:
        """The selected records, by their starts; call `survey` first."""
        assert self._selection is not None, "survey decides what is selected"
        takes = self._selection.takes
        return in_order(one for one in self._read() if takes(one))

    def _select(self, first_ns: int) -> None:
        begin = parse_moment(self.begin, first_ns) if self.begin else None
        end = parse_moment(self.end, first_ns) if self.end else None
        self._selection = Selection(begin, end, self.conditions)

    def _read(self) -> Iterator[RecordedExchange]:
        """All records; what is malformed is noted. A source that breaks off after some records ends there."""
        malformed: list[MalformedRecord] = []
        count = 0
        try:
            for item in read(self.source, format_name=self.format_name, keys=self.keys, host=self.host, bodies=self.bodies):
                if isinstance(item, MalformedRecord):
                    malformed.append(item)
                    continue
                count += 1
                yield placed(item, self.routes)
        except RecordingError as error:
            if not count:
                raise
            malformed.append(MalformedRecord(self.source, str(error)))
        self.malformed = malformed
