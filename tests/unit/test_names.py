"""House rules for names and prose that no linter checks: docstring openings, class names, words to avoid, package docstrings."""

import ast
import io
import re
import tokenize
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PACKAGES = ("proxy", "comparator", "scorer", "dashboards", "shadow_tag")

QUESTION = re.compile(r"(What|Whether|Who|Which|Where|How|Whose|When|Why)\b")
AVOIDED = re.compile(r"\b(whoever|whomever|somebody|nobody|anew|likewise|ails)\b", re.IGNORECASE)

SHARED_CLASS_NAMES: Mapping[str, str] = {}
"""Class names that several modules may define, each with the reason."""

SELF_EXPLAINING_FOLDERS: Mapping[str, str] = {
    "proxy/cli": "one module per command",
    "proxy/config": "one module per section of config.yaml",
    "scorer/db": "one module per table",
}
"""Folders whose package docstring need not name every module, each with the reason."""
UNNAMED_MODULES = {"__init__", "__main__", "errors"}


def sources() -> Iterator[Path]:
    for package in PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def location(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


def docstrings(tree: ast.Module) -> Iterator[ast.Constant]:
    """Yield the string statements of a module: docstrings, those of attributes and constants included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and text of every comment and string literal, docstrings and parts of f-strings included."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
    for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


@pytest.mark.parametrize("package", PACKAGES)
def test_no_docstring_opens_with_a_question_word(package: str) -> None:
    questions = [
        f"{location(path, node.lineno)}: {str(node.value).strip().splitlines()[0]}"
        for path in sources()
        if path.is_relative_to(ROOT / package)
        for node in docstrings(parsed(path))
        if QUESTION.match(str(node.value).strip())
    ]

    assert questions == []


def test_every_class_name_has_one_meaning() -> None:
    modules: dict[str, set[str]] = defaultdict(set)
    for path in sources():
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ClassDef):
                modules[node.name].add(location(path, node.lineno))
    shared = {name: sorted(places) for name, places in modules.items() if len(places) > 1}

    assert {name: places for name, places in shared.items() if name not in SHARED_CLASS_NAMES} == {}
    assert shared.keys() >= SHARED_CLASS_NAMES.keys(), "an exception that is no longer needed"


@pytest.mark.parametrize("package", PACKAGES)
def test_no_text_uses_a_word_to_avoid(package: str) -> None:
    avoided = [
        f"{location(path, line)}: {match[0]}"
        for path in sources()
        if path.is_relative_to(ROOT / package)
        for line, text in texts(path)
        for match in AVOIDED.finditer(text)
    ]

    assert avoided == []


@pytest.mark.parametrize("package", PACKAGES)
def test_package_docstring_names_every_module(package: str) -> None:
    unnamed: dict[str, list[str]] = {}
    for init in sorted((ROOT / package).rglob("__init__.py")):
        folder = init.parent
        if folder.relative_to(ROOT).as_posix() not in SELF_EXPLAINING_FOLDERS:
            page = ast.get_docstring(parsed(init)) or ""
            modules = {path.stem for path in folder.glob("*.py")} | {
                path.parent.name for path in folder.glob("*/__init__.py")
            }
            names = sorted(name for name in modules - UNNAMED_MODULES if not re.search(rf"\b{name}\b", page))
            unnamed |= {str(init.relative_to(ROOT)): names} if names else {}

    assert unnamed == {}
