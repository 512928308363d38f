"""Apply what a person types for a rule to the section `compare:`, and write the change as a patch for config.yaml. Pure.

compare.rules[3] + "{path: score, absolute: '0.01'}"      the rule is replaced
compare.rules[3] + ""                                     it is removed
nothing          + "rules: [{path: score, ignore: true}]" its members are added: lists are appended to, the others merged
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

import msgspec
import yaml

from comparator.errors import RuleError
from comparator.settings import CompareSettings
from comparator.verdict import Comparator
from proxy.ui.config_patch import ConfigPatch, plain_section, yaml_text

DRAFT_CHARS_MAX: Final = 4_000
CONTEXT_LINES: Final = 2
TEMPLATES: Final = {
    "rule": "rules:\n- path: PATH\n  ignore: true\n  reason: REASON\n  owner: OWNER\n",
    "known": "known_differences:\n- name: NAME\n  reason: REASON\n  where:\n  - path: PATH\n",
    "column": "tables:\n  TABLE:\n    volatile:\n      COLUMN:\n        within_ms: 60000\n",
}
"""The begin of a draft by the kind of rule."""

_Document: TypeAlias = dict[str, Any]
_Steps: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class RuleDraft:
    """A draft of a rule.

    Attributes:
        edited: path of the rule that it replaces; "" where it adds something.
        text: YAML.
        patch: the change; its text is a unified diff of the section, "" where nothing changes.
    """

    edited: str
    text: str
    patch: ConfigPatch


def present_text(compare: CompareSettings, declaration: str) -> str | None:
    """Return the rule at a path as YAML, as a draft begins; None where the section has no such rule."""
    document = plain_section(compare)
    steps = _steps_of(document, declaration)
    if steps is None:
        return None
    item: Any = document
    for step in steps:
        item = item[step]
    return yaml_text(item).removesuffix("...\n")


def draft_of(compare: CompareSettings, declaration: str, text: str) -> RuleDraft:
    """Return a draft with its patch; what is wrong with it is in `patch.problem`.

    Args:
        compare: the section in force.
        declaration: path of the rule that is replaced, "" to add members.
        text: YAML; empty, the rule at the path is removed.
    """
    before = plain_section(compare)
    try:
        after = _changed(plain_section(compare), declaration, text[:DRAFT_CHARS_MAX])
        changed = msgspec.convert(after, CompareSettings)
        Comparator(changed)
    except (yaml.YAMLError, msgspec.ValidationError, RuleError, ValueError, RecursionError) as error:
        return RuleDraft(declaration, text, ConfigPatch("", None, _one_line(str(error))))
    return RuleDraft(declaration, text, ConfigPatch(_diff(before, after), changed))


def _changed(document: _Document, declaration: str, text: str) -> _Document:
    value: Any = yaml.safe_load(text)
    if not declaration:
        if not isinstance(value, dict):
            raise ValueError("a draft names members of the section `compare:`, e.g. `rules:` with a list of rules")
        return _merged(document, cast("_Document", value))
    steps = _steps_of(document, declaration)
    if steps is None:
        raise ValueError(f"{declaration}: the section in force has no such rule")
    parent: Any = document
    for step in steps[:-1]:
        parent = parent[step]
    if value is None:
        del parent[steps[-1]]
    else:
        parent[steps[-1]] = value
    return document


def _merged(document: _Document, added: Mapping[str, Any]) -> _Document:
    for name, value in added.items():
        held = document.get(name)
        if isinstance(held, dict) and isinstance(value, dict):
            document[name] = _merged(cast("_Document", held), cast("_Document", value))
        elif isinstance(held, list) and isinstance(value, list):
            document[name] = [*cast("list[Any]", held), *cast("list[Any]", value)]
        else:
            document[name] = value
    return document


def _steps_of(document: _Document, declaration: str) -> _Steps | None:
    """Return the keys and indexes that lead to a rule; names may contain dots and brackets, so the longest one that fits is taken."""
    node: Any = document
    rest, steps = declaration.removeprefix("compare"), list[str | int]()
    while rest:
        if isinstance(node, list):
            step, rest = _list_step(cast("list[Any]", node), rest)
        elif isinstance(node, dict) and rest.startswith("."):
            names = [name for name in cast("_Document", node) if _begins_with(rest[1:], name)]
            step = max(names, key=len, default=None)
            rest = rest[1 + len(step) :] if step is not None else rest
        else:
            return None
        if step is None:
            return None
        steps.append(step)
        node = cast("Any", node)[step]
    return tuple(steps) or None


def _begins_with(rest: str, name: str) -> bool:
    return rest == name or rest.startswith((f"{name}.", f"{name}["))


_IN_BRACKETS: Final = re.compile(r"\[([^\]]+)\]")


def _list_step(node: list[Any], rest: str) -> tuple[int | None, str]:
    """Return the index that `[3]`, or the name in `[rounding]`, stands for."""
    match = _IN_BRACKETS.match(rest)
    if match is None:
        return None, rest
    text, rest = match[1], rest[match.end() :]
    if text.isdigit() and int(text) < len(node):
        return int(text), rest
    names = [cast("_Document", item).get("name") if isinstance(item, dict) else None for item in node]
    return names.index(text) if text in names else None, rest


def _diff(before: _Document, after: _Document) -> str:
    left, right = (yaml_text({"compare": document}).splitlines() for document in (before, after))
    diff = difflib.unified_diff(left, right, "config.yaml", "config.yaml", n=CONTEXT_LINES, lineterm="")
    return "".join(f"{line}\n" for line in diff)


def _one_line(text: str) -> str:
    return " ".join(text.split())
