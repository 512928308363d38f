"""The part of config.yaml that `shadow capture` and `shadow align` need: both databases and the capture of their changes.

The tables are those of `capture.tables`, or else all that `compare.tables` describes: rows that are not compared need not be captured.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from comparator.capture.settings import CaptureSettings
from comparator.tables import Table
from proxy.config.databases import DatabasesSettings
from proxy.config.loader import read_settings
from proxy.config.slices import slice_settings
from proxy.errors import SettingsError


@dataclass(frozen=True, slots=True)
class CaptureConfig:
    """The databases of a configuration, its section `capture:` with the tables filled in, and the descriptions of `compare.tables`."""

    path: Path
    databases: DatabasesSettings
    capture: CaptureSettings
    described: Mapping[str, Table]

    def dsn(self, database: str, *, option: str) -> str:
        """Return the DSN of `live` or `shadow`; `option` is what could be given instead.

        Raises:
            SettingsError: the configuration names none.
        """
        dsn: str = getattr(self.databases, database)
        if not dsn:
            remedy = f"set it in {self.path} (or SHADOW_{database.upper()}_DSN), or give {option}"
            raise SettingsError(f"databases.{database}: empty; {remedy}")
        return dsn


def read_capture_config(path: Path, environ: Mapping[str, str] | None = None, *, slice_name: str = "") -> CaptureConfig:
    """Read the configuration.

    Args:
        path: of the file.
        environ: by default that of the process.
        slice_name: the slice whose shadow database it is; "" for `databases.shadow`.

    Raises:
        SettingsError: the file cannot be read, or it is wrong.
    """
    settings = read_settings(path, environ)
    if slice_name:
        settings = slice_settings(settings, slice_name)
    tables = settings.capture.tables or tuple(settings.compare.tables)
    return CaptureConfig(
        path, settings.databases, msgspec.structs.replace(settings.capture, tables=tables), settings.compare.tables
    )
