"""Log lines as JSON, one object a line, on standard error: a constant event name and its data."""

import json
import logging
import os
import sys
import time

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """One JSON object a record: time (UTC), level, logger, event, the data given as `extra`, and the traceback if any."""

    def format(self, record: logging.LogRecord) -> str:
        """Render the record."""
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, object] = {
            "time": f"{at}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **{name: value for name, value in vars(record).items() if name not in _STANDARD},
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure(level: str = "") -> None:
    """Send all log lines to standard error; the level is SHADOW_LOG_LEVEL, or INFO."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(
        level=(level or os.environ.get("SHADOW_LOG_LEVEL", "INFO")).upper(), handlers=[handler], force=True
    )
