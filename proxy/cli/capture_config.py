"""What `shadow capture` and `shadow align` take from config.yaml: both databases, and how their changes are captured.

The tables are those of `capture.tables`, or else all that `compare.tables` describes: what is not compared need not be captured.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from comparator.capture.settings import CaptureSettings, with_words
from comparator.errors import RuleError
from comparator.settings import CompareSettings
from proxy.cli.options import converted, read_document


@dataclass(frozen=True, slots=True)
class Configured:
    """The databases, as libpq URIs ("" where the configuration names none), and the section `capture:`."""

    path: Path
    live: str
    shadow: str
    capture: CaptureSettings

    def dsn(self, database: str, *, option: str) -> str:
        """The DSN of `live` or `shadow`; `option` is what could be given instead.

        Raises:
            RuleError: the configuration names none.
        """
        found: str = getattr(self, database)
        if not found:
            hint = f"empty; set it in {self.path} (or SHADOW_{database.upper()}_DSN), or give {option}"
            raise RuleError(f"databases.{database}", hint)
        return found


def read_configured(path: Path, environ: Mapping[str, str] | None = None) -> Configured:
    """Read the sections `databases`, `capture` and `compare`.

    Raises:
        RuleError: the file is unreadable or a section is wrong, with the path of what is wrong.
    """
    whole = read_document(path, os.environ if environ is None else environ)
    compare = converted(whole.get("compare") or {}, CompareSettings, "compare")
    capture = converted(with_words(whole.get("capture") or {}, "driver"), CaptureSettings, "capture")
    databases: dict[str, str | None] = whole.get("databases") or {}
    return Configured(
        path=path,
        live=databases.get("live") or "",
        shadow=databases.get("shadow") or "",
        capture=msgspec.structs.replace(capture, tables=capture.tables or tuple(compare.tables)),
    )
