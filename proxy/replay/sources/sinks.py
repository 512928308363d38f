"""Writes captures in other programs' formats. Pure: bytes out, in pieces."""

from collections.abc import Iterable, Iterator
from enum import StrEnum

from proxy.replay.sources import gor, har, ndjson, vegeta
from proxy.replay.sources.recorded import Recorded


class Sink(StrEnum):
    """Formats that can be written."""

    GOR = "gor"
    HAR = "har"
    VEGETA_JSON = "vegeta-json"
    NDJSON = "ndjson"


def dump(records: Iterable[Recorded], sink: Sink) -> Iterator[bytes]:
    """The file's bytes, in pieces. What a format cannot hold is lost: gor failures, vegeta answers and times."""
    match sink:
        case Sink.GOR:
            return map(gor.dump, records)
        case Sink.HAR:
            return har.dump(records)
        case Sink.VEGETA_JSON:
            return map(vegeta.dump, records)
        case Sink.NDJSON:
            return map(ndjson.dump, records)
