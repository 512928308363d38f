"""Keep the reports of replays in a folder, one file each, and list them, the latest first.

20261130T130405Z-345ab820b573.json      time at which it began, in UTC, and the first digits of a digest of its text
"""

import datetime as dt
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from proxy.private_file import read_small, replace_private_file
from proxy.replay.errors import OptionError
from proxy.replay.report import ReplayReport, parse_report, render_json

NAME: Final = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{12}")
REPORT_MAX_BYTES: Final = 64 * 1024 * 1024


class StoredReport(Struct, frozen=True):
    """A report of the folder: its name, and its content or why it cannot be read."""

    name: str
    report: ReplayReport | None
    error: str = ""


class ReportFolder:
    """A folder of reports. Its methods block."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: dict[str, tuple[int, ReplayReport]] = {}

    def store(self, report: ReplayReport) -> Path:
        """Write a report, readable by the owner only, and return its path.

        Raises:
            OptionError: it cannot be written.
        """
        text = render_json(report)
        began = dt.datetime.fromisoformat(report.began).astimezone(dt.UTC)
        path = self.folder / f"{began:%Y%m%dT%H%M%SZ}-{hashlib.sha256(text).hexdigest()[:12]}.json"
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_private_file(path, text)
        except OSError as error:
            raise OptionError(
                f"replay.reports_directory {self.folder}: {error.strerror}; set it to a folder, or to nothing"
            ) from error
        return path

    def names(self, *, before: str = "", limit: int = 50) -> Sequence[str]:
        """Return names of reports, the latest first, those before another one.

        Raises:
            OSError: the folder exists and cannot be read.
        """
        try:
            found = [
                path.stem for path in self.folder.iterdir() if path.suffix == ".json" and NAME.fullmatch(path.stem)
            ]
        except FileNotFoundError:
            return ()
        return sorted((name for name in found if not before or name < before), reverse=True)[:limit]

    def load(self, name: str) -> StoredReport:
        """Read a report by its name; one that has not changed is parsed once."""
        if not NAME.fullmatch(name):
            return StoredReport(name, None, "not the name of a report")
        path = self.folder / f"{name}.json"
        try:
            facts = path.stat()
            held = self._read.get(name)
            if held and held[0] == facts.st_mtime_ns:
                return StoredReport(name, held[1])
            report = parse_report(read_small(path, REPORT_MAX_BYTES))
        except OSError as error:
            return StoredReport(name, None, error.strerror or str(error))
        except OptionError as error:
            return StoredReport(name, None, f"not a report of this version: {error}")
        if len(self._read) >= 100:
            del self._read[next(iter(self._read))]
        self._read[name] = (facts.st_mtime_ns, report)
        return StoredReport(name, report)
