"""proxy.config.loader: a file that is being written, or is none, is refused by name."""

from pathlib import Path

import pytest

from proxy.config.loader import read_settings
from proxy.errors import SettingsError


@pytest.mark.parametrize(("raw", "reason"), [(b"", "empty"), (b"\n\n", "empty"), (b"\xff\xfe\x00", "not UTF-8")])
def test_what_is_no_configuration_is_refused_by_name(tmp_path: Path, raw: bytes, reason: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(raw)
    with pytest.raises(SettingsError, match=f"config.yaml: .*{reason}"):
        read_settings(path)


def test_file_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        read_settings(tmp_path / "config.yaml")
