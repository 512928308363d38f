"""A draft replaces, removes or adds a rule, whichever kind it is, and its patch says what changes."""

import msgspec
import pytest
import yaml

from comparator.settings import CompareSettings
from proxy.ui.rule_draft import TEMPLATES, draft_of, present_text
from proxy.ui.rule_words import rules_in_words
from tests.unit.proxy.ui.test_rule_words import COMPARE

DECLARATIONS = sorted(
    set(rules_in_words(COMPARE)) - set(rules_in_words(CompareSettings())) | {"compare.headers.ignore[0]"}
)


@pytest.mark.parametrize("declaration", DECLARATIONS)
def test_every_rule_can_be_edited_and_is_the_same_unedited(declaration: str) -> None:
    text = present_text(COMPARE, declaration)
    assert text
    unchanged = draft_of(COMPARE, declaration, text)
    assert (unchanged.patch.problem, unchanged.patch.text, unchanged.patch.compare) == ("", "", COMPARE)


@pytest.mark.parametrize("declaration", DECLARATIONS)
def test_every_rule_can_be_removed(declaration: str) -> None:
    removed = draft_of(COMPARE, declaration, " ").patch
    # (without what it allows, a column's entry is not valid)
    assert removed.compare is None or len(rules_in_words(removed.compare)) == len(rules_in_words(COMPARE)) - 1
    assert removed.problem or any(line.startswith("-") for line in removed.text.splitlines()[2:])


def test_changed_rule_is_in_force_in_the_changed_section_and_in_the_patch() -> None:
    patch = draft_of(COMPARE, "compare.rules[0]", "path: at\ntime_within_ms: 5\nowner: scoring").patch
    assert patch.compare is not None
    assert patch.compare.rules[0].time_within_ms == 5
    assert (
        patch.text.splitlines()[2:]
        == [
            "@@ -1,5 +1,5 @@",
            " compare:",
            "   rules:",
            "   - path: at",
            "-    time_within_ms: 60000",
            "+    time_within_ms: 5",
            "     owner: scoring",
            "   headers:",
        ]
        or "+    time_within_ms: 5" in patch.text
    )


def test_added_members_keep_what_there_is() -> None:
    text = "rules: [{path: score, absolute: '0.1'}]\ntables: {event: {volatile: {seen: {within_ms: 1000}}}}"
    after = draft_of(COMPARE, "", text).patch.compare
    assert after is not None
    assert [rule.path for rule in after.rules] == ["at", "score"]
    assert set(after.tables["event"].volatile) == {"at", "seen"}
    assert after.tables["event"].json == COMPARE.tables["event"].json
    assert msgspec.structs.replace(after, rules=COMPARE.rules, tables=COMPARE.tables) == COMPARE


@pytest.mark.parametrize(
    ("declaration", "text", "problem"),
    [
        ("", "- a\n- b", "a draft names members"),
        ("", "rules: [", "parsing a flow"),
        ("", "rules: [{path: a}]", "exactly one action"),
        ("", "rules: [{path: '[', ignore: true}]", "path"),
        ("", "body_max_bytes: many", "Expected `int`"),
        ("compare.rules[7]", "path: a", "has no such rule"),
        ("compare.rules[0]", "path: at", "exactly one action"),
        ("compare.nothing", "a", "has no such rule"),
        ("compare", "a", "has no such rule"),
    ],
)
def test_invalid_draft_says_why_and_changes_nothing(declaration: str, text: str, problem: str) -> None:
    patch = draft_of(COMPARE, declaration, text).patch
    assert patch.compare is None
    assert problem in patch.problem


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_template_names_members_of_the_section(name: str) -> None:
    assert set(yaml.safe_load(TEMPLATES[name])) <= set(CompareSettings.__struct_fields__)
