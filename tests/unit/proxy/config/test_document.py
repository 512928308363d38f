"""proxy.config.document: YAML text to plain data."""

import pytest

from proxy.config.document import VALUES_MAX, Unquoted, read_document
from proxy.errors import SettingsError

READABLE = [
    ("", {}),
    ("# a comment", {}),
    ("a: {b: [1, 2.5, true, null, text]}", {"a": {"b": [1, 2.5, True, None, "text"]}}),
    ("a: &a [1]\nb: *a", {"a": [1], "b": [1]}),
    ("a: &a {x: 1, y: 1}\nb: {<<: *a, y: 2}", {"a": {"x": 1, "y": 1}, "b": {"x": 1, "y": 2}}),
    (
        "a: &a {x: 1}\nb: &b {x: 2, y: 2}\nc: {<<: [*a, *b]}",
        {"a": {"x": 1}, "b": {"x": 2, "y": 2}, "c": {"x": 1, "y": 2}},
    ),
    ("a: '${NAME}'", {"a": "value"}),
    ("a: ${NAME}", {"a": "value"}),
    ("a: ${UNSET:-default}", {"a": "default"}),
    ("a: ${UNSET:-}", {"a": ""}),
    ("a: ${EMPTY:-default}", {"a": "default"}),
    ("a: x${NAME}y${UNSET:-z}", {"a": "xvalueyz"}),
    ("a: $${NAME}", {"a": "${NAME}"}),
    ("a: $NAME", {"a": "$NAME"}),
    ("a: ${NESTED}", {"a": "${NAME}"}),
    ("${NAME}: 1", {"${NAME}": 1}),
]
ENVIRON = {"NAME": "value", "EMPTY": "", "NESTED": "${NAME}"}


@pytest.mark.parametrize(("text", "document"), READABLE)
def test_text_is_read_as_plain_data(text: str, document: object) -> None:
    assert read_document(text, ENVIRON) == document


REFUSED = {
    "a: [": "not YAML: while parsing",
    "- 1": "not a mapping: the file has to consist of sections",
    "text": "not a mapping",
    "a: 1\n---\nb: 1": "not YAML: expected a single document",
    'a: "\\U00110000"': "not YAML: chr() arg not in range",
    "a: *b": "not YAML: found undefined alias",
    "a: {b: ${NAME}}": "not YAML: while parsing a flow mapping",
    "a: 2026-02-30": "a: day is out of range",
    "a: " + "9" * 5000: "a: Exceeds the limit",
    "a: [.inf]": "a[0]: .inf is not a finite number",
    "a: .nan": "a: .nan is not a finite number",
    "a: !!python/object:os.system {}": "a: the tag tag:yaml.org,2002:python/object:os.system is not supported",
    "a: !!python/name:os.system x": "not YAML: could not determine a constructor",
    "a: !!int ''": "a: the value does not have the form of its tag tag:yaml.org,2002:int",
    "a: !!bool 7": "a: the value does not have the form of its tag tag:yaml.org,2002:bool",
    "a: !!timestamp x": "a: the value does not have the form of its tag",
    "a: !!set {x}": "a: the tag tag:yaml.org,2002:set is not supported",
    "a: ${UNSET}": "a: the environment variable UNSET is not set or empty; set it, or write ${UNSET:-default}",
    "a: {b: ['', 'x${EMPTY}']}": "a.b[1]: the environment variable EMPTY is not set or empty",
    "a: ${1X}": "a: `${` begins neither ${NAME} nor ${NAME:-default}",
    "a: ${NAME": "a: `${` begins neither",
    "a: ${NAME-default}": "a: `${` begins neither",
    "a: 1\nb: 2\na: 3": "a: duplicate key, in line 1 and in line 3",
    "a: {b: {c: 1, 'c': 1}}": "a.b.c: duplicate key, in line 1 and in line 1",
    "a: [{b: 1, b: 1}]": "a[0].b: duplicate key",
    "a: {on: 1}": "a: the key in line 1 is not text to YAML; write it in quotes",
    "1: a": "the file: the key in line 1 is not text",
    "? [a]\n: b": "the file: the key in line 1 is not text",
    "a: {<<: [1]}": "a.<<: expected a mapping to merge",
    "a: &a [*a]": "too large",
    "a: &a {<<: *a}": "too large",
    "a: " + "[" * 60 + "]" * 60: "too large",
    "a: " + "[" * 5000: "not YAML: nested too deeply",
    "a: " + "x" * 2_000_000: "too large: 2000003 characters",
}


@pytest.mark.parametrize(("text", "message"), REFUSED.items())
def test_unusable_text_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_document(text, ENVIRON)
    assert str(caught.value).startswith(message) or message == "too large" in str(caught.value)


@pytest.mark.parametrize(
    "level",
    ["[*%s, *%s, *%s, *%s, *%s, *%s, *%s, *%s, *%s, *%s]", "{<<: [*%s, *%s, *%s, *%s, *%s, *%s, *%s, *%s, *%s, *%s]}"],
)
def test_aliases_that_expand_without_bound_are_refused(level: str) -> None:
    names = "abcdefghi"
    first = "a: &a [x, x, x, x, x, x, x, x, x, x]" if level.startswith("[") else "a: &a {x: 1}"
    lines = [f"{name}: &{name} " + level % ((names[index],) * 10) for index, name in enumerate(names[1:])]
    with pytest.raises(SettingsError, match=f"too large: more than {VALUES_MAX} values"):
        read_document("\n".join([first, *lines]), {})


@pytest.mark.parametrize(
    ("text", "unquoted"),
    [("a: x", True), ("a: ${NAME}", True), ("a: '${NAME}'", True), ("a: 'x'", False), ('a: "8"', False)],
)
def test_text_without_quotes_or_from_a_variable_is_marked(text: str, unquoted: bool) -> None:
    assert isinstance(read_document(text, ENVIRON)["a"], Unquoted) is unquoted
