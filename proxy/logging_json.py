"""Write log records as JSON, one object a line, in the schema that the scorer uses too (scorer.logs).

    {"time": "2026-01-31T12:00:00.123Z", "level": "INFO", "event": "backend_ejected", ...data, "exception": "Traceback .."}

`event` is a constant noun_verb, the data comes from `extra`, `exception` is present only with a traceback. The scorer may not import the
proxy, so there are two formatters; a test holds their lines equal.
"""

import json
import logging
import os
import sys
import threading
import time
from collections import deque
from typing import TextIO

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


class ClientFaultFilter(logging.Filter):
    """Drops what aiohttp logs about a request that is not HTTP: its sender got 400, and a flood of them must not fill the disk.

    aiohttp logs each with a traceback, as an error of ours. Its classes are known by name, because most commands never import it.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is logged. Implements logging.Filter."""
        error = record.exc_info[1] if record.exc_info else None
        return not any(
            kind.__module__ == "aiohttp.http_exceptions" or kind.__name__ == "RequestPayloadError"
            for kind in type(error).__mro__
        )


LINES_MAX = 10_000
FLUSH_S = 1.0


class BackgroundHandler(logging.Handler):
    """Writes lines by a thread: a pipe that is not read, or a disk that hangs, must not stop the event loop that serves clients.

    Beyond LINES_MAX lines are dropped, and a line says how many.

    Args:
        stream: where to.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._lines: deque[str] = deque()
        self._dropped = 0
        self._added, self._written = threading.Event(), threading.Event()
        self._written.set()
        threading.Thread(target=self._run, name="log-writer", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the record's line. Implements logging.Handler, which holds the handler's lock."""
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 (as all handlers of logging do)
            self.handleError(record)
            return
        if len(self._lines) >= LINES_MAX:
            self._dropped += 1
            return
        self._lines.append(line)
        self._written.clear()
        self._added.set()

    def flush(self) -> None:
        """Wait until everything is written, FLUSH_S at most."""
        self._written.wait(FLUSH_S)

    def close(self) -> None:
        """Write what is queued, within FLUSH_S."""
        self.flush()
        super().close()

    def _run(self) -> None:
        while True:
            self._added.wait()
            self._added.clear()
            while self._lines:
                self._write(self._lines.popleft())
            if self._dropped:
                dropped, self._dropped = self._dropped, 0
                self._write(json.dumps({"level": "ERROR", "event": "log_lines_dropped", "lines": dropped}))
            if not self._lines:
                self._written.set()

    def _write(self, line: str) -> None:
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            # There is no other place to say it.
            self._dropped += 1


def configure(level: str = "", *, background: bool = False) -> None:
    """Send every log record of the process to standard error.

    Args:
        level: the least level; the default is SHADOW_LOG_LEVEL, or INFO.
        background: write by a thread, for a process that serves clients.
    """
    handler = BackgroundHandler(sys.stderr) if background else logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    handler.addFilter(ClientFaultFilter())
    logging.basicConfig(
        level=(level or os.environ.get("SHADOW_LOG_LEVEL", "INFO")).upper(), handlers=[handler], force=True
    )
