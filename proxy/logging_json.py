"""Write log records as JSON, one object a line, in the schema that the scorer uses too (scorer.logs).

    {"time": "2026-01-31T12:00:00.123Z", "level": "INFO", "event": "backend_ejected", ...data, "exception": "Traceback .."}

`event` is a constant noun_verb, the data comes from `extra`, `exception` is present only with a traceback. The scorer may not import the
proxy, so there are two formatters; a test holds their lines equal.
"""

import json
import logging
import os
import sys
import time

_STANDARD_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
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


def configure(level: str = "") -> None:
    """Send every log record of the process to standard error, from `level` on; the default is SHADOW_LOG_LEVEL, or INFO."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(
        level=(level or os.environ.get("SHADOW_LOG_LEVEL", "INFO")).upper(), handlers=[handler], force=True
    )
