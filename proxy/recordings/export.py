"""Writes captures in other programs' formats. Pure: bytes out, in pieces."""

from collections.abc import Iterable, Iterator
from enum import StrEnum

from proxy.recordings import combined, envoy, gor, har, mitmproxy, ndjson, vegeta
from proxy.recordings.model import Recorded


class Sink(StrEnum):
    """Formats that can be written."""

    GOR = "gor"
    HAR = "har"
    MITMPROXY = "mitmproxy"
    ENVOY = "envoy"
    VEGETA_JSON = "vegeta-json"
    COMBINED = "combined"
    NDJSON = "ndjson"


def dump(records: Iterable[Recorded], sink: Sink) -> Iterator[bytes]:
    """The file's bytes, in pieces. What a format cannot hold is lost, as each module's `dump` says."""
    match sink:
        case Sink.GOR:
            return map(gor.dump, records)
        case Sink.HAR:
            return har.dump(records)
        case Sink.MITMPROXY:
            return map(mitmproxy.dump, records)
        case Sink.ENVOY:
            return map(envoy.dump, records)
        case Sink.COMBINED:
            return map(combined.dump, records)
        case Sink.VEGETA_JSON:
            return map(vegeta.dump, records)
        case Sink.NDJSON:
            return map(ndjson.dump, records)
