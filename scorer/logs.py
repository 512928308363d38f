"""Write log records as JSON, one object a line, in the schema that the proxy uses too.

    {"time": "2026-01-31T12:00:00.123Z", "level": "INFO", "event": "stop_requested", ...data, "exception": "Traceback .."}

`event` is a constant noun_verb, the data comes from `extra`, `exception` is present only with a traceback.
"""

import json
import logging
import sys
import time

from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestPayloadError

_STANDARD_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLineFormatter(logging.Formatter):
    """Formats a record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; values that JSON cannot represent become their `str`."""
        second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, object] = {
            "time": f"{second}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "event": record.getMessage(),
        }
        line.update((name, value) for name, value in vars(record).items() if name not in _STANDARD_ATTRIBUTES)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class MalformedRequestFilter(logging.Filter):
    """Drops what aiohttp logs, with a traceback, about a request that is not HTTP: its sender got 400."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is logged. Implements logging.Filter."""
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, HttpProcessingError | RequestPayloadError)


def configure(level: str) -> None:
    """Send every log record of the process to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLineFormatter())
    handler.addFilter(MalformedRequestFilter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
