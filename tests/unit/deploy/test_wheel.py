"""The wheel has every file of its packages, also those that are no modules."""

import subprocess
import sys
import zipfile
from pathlib import Path

from tests.support.paths import ROOT

BUILD = "import setuptools.build_meta as backend, sys; print(backend.build_wheel(sys.argv[1]))"
PACKAGES = ("comparator", "dashboards", "proxy", "scorer", "shadow_tag")


def test_wheel_has_every_tracked_file_of_its_packages(tmp_path: Path) -> None:
    tracked = subprocess.run(["git", "ls-files", *PACKAGES], cwd=ROOT, capture_output=True, text=True, check=True)
    names = tracked.stdout.split()
    copy = tmp_path / "project"
    for name in [*names, "pyproject.toml", "README.md", "LICENSE", "requirements/run.in"]:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes((ROOT / name).read_bytes())
    built = subprocess.run(
        [sys.executable, "-c", BUILD, str(tmp_path)], cwd=copy, capture_output=True, text=True, check=True
    )
    with zipfile.ZipFile(tmp_path / built.stdout.split()[-1]) as wheel:
        assert set(names) - set(wheel.namelist()) == set()
