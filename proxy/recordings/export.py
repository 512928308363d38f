"""Writes recordings in other programs' formats. Pure: bytes out, in pieces."""

from collections.abc import Iterable, Iterator
from enum import StrEnum

from proxy.recordings import combined, envoy, gor, har, mitmproxy, ndjson, vegeta
from proxy.recordings.model import RecordedExchange


class ExportFormat(StrEnum):
    """Formats that can be written."""

    GOR = "gor"
    HAR = "har"
    MITMPROXY = "mitmproxy"
    ENVOY = "envoy"
    VEGETA_JSON = "vegeta-json"
    COMBINED = "combined"
    NDJSON = "ndjson"


def dump(records: Iterable[RecordedExchange], sink: ExportFormat) -> Iterator[bytes]:
    """The file's bytes, in pieces. What a format cannot hold is lost, as each module's `dump` says."""
    match sink:
        case ExportFormat.GOR:
            return map(gor.dump, records)
        case ExportFormat.HAR:
            return har.dump(records)
        case ExportFormat.MITMPROXY:
            return map(mitmproxy.dump, records)
        case ExportFormat.ENVOY:
            return map(envoy.dump, records)
        case ExportFormat.COMBINED:
            return map(combined.dump, records)
        case ExportFormat.VEGETA_JSON:
            return map(vegeta.dump, records)
        case ExportFormat.NDJSON:
            return map(ndjson.dump, records)
