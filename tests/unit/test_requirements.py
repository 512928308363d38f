"""requirements/: what is installed at run time is imported at run time, and no file names a download address."""

import ast
import re
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PACKAGES = ("comparator", "dashboards", "proxy", "scorer")
MODULES = {
    "hdrhistogram": "hdrh",
    "markdown-it-py": "markdown_it",
    "opentelemetry-exporter-otlp-proto-http": "opentelemetry",
    "opentelemetry-sdk": "opentelemetry",
    "pyjwt": "jwt",
    "pyyaml": "yaml",
}
"""The module of a distribution whose name is another one."""


def requirements() -> list[str]:
    lines = (ROOT / "requirements" / "run.in").read_text().splitlines()
    return [re.split(r"[\[=<>]", line)[0] for line in lines if line and not line.startswith("#")]


def imported() -> set[str]:
    trees = [ast.parse(path.read_text()) for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return {
        name.partition(".")[0]
        for name in plain | {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    }


def test_every_runtime_requirement_is_imported_at_run_time() -> None:
    modules = imported()
    assert [name for name in requirements() if MODULES.get(name, name.replace("-", "_")) not in modules] == []


@pytest.mark.parametrize("path", sorted((ROOT / "requirements").iterdir()), ids=lambda path: path.name)
def test_requirements_name_no_download_address(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"https?://|--(extra-)?index-url|--find-links", text)


def test_package_data_exists() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    section = text.partition("[tool.setuptools.package-data]\n")[2].partition("\n\n")[0]
    patterns = [
        (line.partition(" = ")[0], pattern)
        for line in section.splitlines()
        for pattern in re.findall(r'"([^"]+)"', line)
    ]
    assert [pattern for package, pattern in patterns if not list((ROOT / package).glob(pattern))] == []
