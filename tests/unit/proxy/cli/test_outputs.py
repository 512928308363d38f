from pathlib import Path

import pytest

from proxy.cli.outputs import check_outputs
from proxy.replay.errors import OptionError


def test_a_file_in_a_folder_that_is_there_the_standard_output_and_no_file_are_fine(tmp_path: Path) -> None:
    check_outputs({"--html": str(tmp_path / "report.html"), "--json": "-", "--sql": None})
    assert not list(tmp_path.iterdir())


def test_a_file_in_a_folder_that_is_not_there_is_refused_by_option_and_folder(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"--html .*/none/report.html: there is no folder .*/none"):
        check_outputs({"--json": "-", "--html": str(tmp_path / "none" / "report.html")})


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"--out .* is a folder"):
        check_outputs({"--out": str(tmp_path)})
