"""Claims of purity and the import contracts agree: a docstring that says `Pure.` names a module that a contract keeps pure."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from tests.support.paths import ROOT

CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
IMPURE = {"asyncio", "aiohttp", "asyncpg", "logging", "os", "random", "secrets", "socket", "threading", "time"}
PACKAGES = ("proxy", "comparator", "scorer", "dashboards")


def kept_pure() -> set[str]:
    contracts = [one for one in CONTRACTS if one["type"] == "forbidden" and set(one["forbidden_modules"]) >= IMPURE]
    return {module for contract in contracts for module in contract["source_modules"]}


def claims() -> Iterator[str]:
    for package in PACKAGES:
        for path in sorted(set((ROOT / package).rglob("*.py")) - set((ROOT / package).rglob("__init__.py"))):
            text = ast.get_docstring(ast.parse(path.read_text())) or ""
            if re.search(r"(^|[.:] |\n)Pure(\.|,|:| but)", text):
                yield module_of(path)


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def test_what_claims_to_be_pure_is_kept_pure_by_a_contract() -> None:
    pure = kept_pure()
    covered = {module for module in claims() if any(f"{module}.".startswith(f"{root}.") for root in pure)}
    assert sorted(set(claims()) - covered) == []


def test_contracts_name_whole_packages_or_modules_that_exist() -> None:
    for module in kept_pure():
        path = ROOT / module.replace(".", "/")
        assert path.is_dir() or path.with_suffix(".py").exists(), module
