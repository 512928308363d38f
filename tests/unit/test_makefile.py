"""The Makefile's help lists every benchmark."""

import re

from tests.support.paths import ROOT

HELPED = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
CONTENDERS = {"plain_proxy"}
"""Programs that a benchmark measures or drives; they are not benchmarks."""


def runnable_modules() -> set[str]:
    """Return the names of the modules and packages that `python -m bench.NAME` runs."""
    modules = {path.stem for path in (ROOT / "bench").glob("*.py") if "__main__" in path.read_text()}
    return modules | {path.parent.name for path in (ROOT / "bench").glob("*/__main__.py")}


def test_help_lists_every_benchmark() -> None:
    listed = {name.removeprefix("bench-") for name in HELPED if name.startswith("bench-")} - {"peers"}

    assert listed == {name.replace("_", "-") for name in runnable_modules() - CONTENDERS}


def test_help_lists_each_target_once() -> None:
    assert len(set(HELPED)) == len(HELPED)
