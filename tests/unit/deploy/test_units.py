"""deploy/systemd and deploy/Containerfile start what there is, with rights that are no wider than needed."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from proxy.cli.main import build_parser
from tests.support.paths import ROOT

SYSTEMD = ROOT / "deploy/systemd"
UNITS = sorted([*SYSTEMD.glob("*.service"), *SYSTEMD.glob("*.service.d/*.conf")])
PARTS = ("proxy", "runner", "ui")
INSTALLED = "/opt/shadow/bin/"
EXPOSURE_MAX = 2.0
"""Of systemd's own rating of a unit's rights, from 0 to 10; above 2.5 it is no longer called OK."""


def commands() -> list[list[str]]:
    """Return the words of each command that a unit or the image starts, for each part."""
    found: list[str] = []
    for path in UNITS:
        lines = re.findall(r"^Exec(?:Start|StartPre)=(.*)$", path.read_text(), re.MULTILINE)
        found += [line.replace("%i", part) for line in lines for part in (PARTS if "%i" in line else ("",))]
    return [shlex.split(line) for line in found]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_started_command_exists(words: list[str]) -> None:
    program = words[0].removeprefix(INSTALLED)
    if program == "python":
        done = subprocess.run(
            [ROOT / ".venv/bin/python", *words[1:], "--help"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    else:
        assert program == "shadow"
        assert build_parser([words[1]]).parse_args(words[1:])


def test_command_of_the_image_exists() -> None:
    (line,) = re.findall(r"^CMD \[(.*)\]$", (ROOT / "deploy/Containerfile").read_text(), re.MULTILINE)
    words = [word.strip().strip('"') for word in line.split(",")]
    assert build_parser([words[0]]).parse_args(words)


@pytest.mark.parametrize(
    "unit", ["shadow@proxy.service", "shadow@runner.service", "shadow@ui.service", "shadow-scorer.service"]
)
def test_systemd_takes_the_unit_and_finds_its_rights_narrow(unit: str, tmp_path: Path) -> None:
    name = re.sub(r"@\w+", "@", unit)
    # The programs of this checkout stand in for installed ones, which must exist.
    (tmp_path / unit).write_text((SYSTEMD / name).read_text().replace(INSTALLED, f"{ROOT}/.venv/bin/"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", tmp_path / unit], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", tmp_path / unit], capture_output=True, text=True, check=False
    )
    (exposure,) = re.findall(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert float(exposure) <= EXPOSURE_MAX
