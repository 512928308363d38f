from pathlib import Path

import pytest

from proxy.cli.output import check_outputs
from proxy.replay.errors import OptionError


def test_existing_folder_standard_output_and_no_file_are_accepted(tmp_path: Path) -> None:
    check_outputs({"--html": str(tmp_path / "report.html"), "--json": "-", "--sql": None})
    assert not list(tmp_path.iterdir())


def test_file_in_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"--html .*/none/report.html: no folder .*/none"):
        check_outputs({"--json": "-", "--html": str(tmp_path / "none" / "report.html")})


def test_folder_as_output_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"--out .* is a folder"):
        check_outputs({"--out": str(tmp_path)})
