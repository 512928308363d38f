"""The table of traffic file formats: a new format is one module and one row here."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from proxy.recordings import alb, combined, envoy, gor, har, mitmproxy, ndjson, vegeta
from proxy.recordings.model import Item, RecordedExchange
from proxy.recordings.recording_file import RecordingFile

Dump = Callable[[Iterable[RecordedExchange]], Iterator[bytes]]


@dataclass(frozen=True, slots=True)
class RecordingFormat:
    """A traffic file format.

    Attributes:
        name: for `--format` and `--to`.
        parse: yields the records of a recording.
        matches: returns whether a recording that begins with these bytes (up to HEAD_BYTES) has this format.
        suffixes: file names with one of these have this format, whatever the file begins with.
        dump: yields the bytes of a file with these records; None for a format that is only read. Its module says what is lost.
    """

    name: str
    parse: Callable[[RecordingFile], Iterator[Item]]
    matches: Callable[[bytes], bool]
    suffixes: tuple[str, ...] = ()
    dump: Dump | None = None


def _each(dump: Callable[[RecordedExchange], bytes]) -> Dump:
    """Dump a file that is the concatenation of its records."""
    return lambda records: map(dump, records)


FORMATS: Final = {
    row.name: row
    for row in (
        # Detection takes the first row that matches, so a format comes before those that would match its files too: ndjson
        # matches every JSON document, and combined anything with brackets and quotes.
        RecordingFormat("gor", lambda file: gor.parse(file.lines()), gor.matches, (".gor",), _each(gor.dump)),
        RecordingFormat("envoy", lambda file: envoy.parse(file.whole().decode()), envoy.matches, (), _each(envoy.dump)),
        RecordingFormat("har", lambda file: har.parse(file.whole()), har.matches, (".har", ".zhar"), har.dump),
        RecordingFormat(
            "vegeta-json", lambda file: vegeta.parse_json(file.lines()), vegeta.matches_json, (), _each(vegeta.dump)
        ),
        RecordingFormat("ndjson", lambda file: ndjson.parse(file.lines()), ndjson.matches, (), _each(ndjson.dump)),
        RecordingFormat("alb", lambda file: alb.parse(file.lines()), alb.matches),
        RecordingFormat(
            "mitmproxy",
            lambda file: mitmproxy.parse(file.whole()),
            mitmproxy.matches,
            (".flow", ".flows", ".mitm"),
            _each(mitmproxy.dump),
        ),
        RecordingFormat(
            "vegeta-http", lambda file: vegeta.parse_http(file.lines(), file.bodies.read), vegeta.matches_http
        ),
        RecordingFormat(
            "combined",
            lambda file: combined.parse(file.lines(), host=file.host),
            combined.matches,
            (),
            _each(combined.dump),
        ),
    )
}
WRITERS: Final = {name: row.dump for name, row in FORMATS.items() if row.dump is not None}
"""The formats that can be written, by name: functions from records to the bytes of a file, in pieces."""
