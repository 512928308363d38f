"""proxy.config.conversion: plain data to settings, and what an error says."""

import datetime as dt
from enum import StrEnum
from typing import Annotated

import pytest
from msgspec import Meta, Struct

from proxy.config.conversion import convert
from proxy.config.document import read_document
from proxy.errors import SettingsError


class Mode(StrEnum):
    FAST = "fast"
    OFF = "off"


class Item(Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    limit: Annotated[int, Meta(ge=0, le=10)] = 0


class Step(Struct, frozen=True, forbid_unknown_fields=True):
    percent: float


class Example(Struct, frozen=True, forbid_unknown_fields=True):
    text: str = ""
    whole: int = 0
    share: float = 0.0
    flag: bool = False
    maybe: bool | None = None
    until: dt.date | None = None
    mode: Mode = Mode.FAST
    words: tuple[str, ...] = ()
    steps: tuple[Step | float, ...] = ()
    items: tuple[Item, ...] = ()
    tables: dict[str, Item] = {}
    nested: Item | None = None
    limits: dict[str, int] = {}


def converted(text: str, **environ: str) -> Example:
    return convert(read_document(text, environ), Example)


ACCEPTED = [
    ("whole: 8080", Example(whole=8080)),
    ("whole: ${X}", Example(whole=8080)),
    ("whole: '${X}'", Example(whole=8080)),
    ("whole: 80${Y}", Example(whole=8080)),
    ("share: ${X}", Example(share=8080.0)),
    ("share: 1", Example(share=1.0)),
    ("share: 1e-3", Example(share=0.001)),
    ("text: ${X}", Example(text="8080")),
    ("words: ['${X}', a]", Example(words=("8080", "a"))),
    ("flag: ${T}", Example(flag=True)),
    ("flag: ${ON}", Example(flag=True)),
    ("flag: off", Example(flag=False)),
    ("maybe: ${T}", Example(maybe=True)),
    ("maybe:", Example(maybe=None)),
    ("mode: off", Example(mode=Mode.OFF)),
    ("mode: no", Example(mode=Mode.OFF)),
    ("mode: 'off'", Example(mode=Mode.OFF)),
    ("mode: ${OFF}", Example(mode=Mode.OFF)),
    ("until: 2026-12-01", Example(until=dt.date(2026, 12, 1))),
    ("until: ${DAY}", Example(until=dt.date(2026, 12, 1))),
    ("steps: [0, {percent: '${Y}'}, '${X}']", Example(steps=(0.0, Step(80.0), 8080.0))),
    ("items: [{name: a, limit: '${ONE}'}]", Example(items=(Item("a", 1),))),
    ("tables: {a: {name: '${X}'}}", Example(tables={"a": Item("8080")})),
    ("nested: {name: a}", Example(nested=Item("a"))),
    ("nested: null", Example()),
    ("limits: {a: '${ONE}'}", Example(limits={"a": 1})),
]
ENVIRON = {
    "X": "8080",
    "Y": "80",
    "T": "true",
    "ON": "on",
    "OFF": "off",
    "ONE": "1",
    "DAY": "2026-12-01",
    "BAD": "many",
}


@pytest.mark.parametrize(("text", "settings"), ACCEPTED)
def test_values_are_typed_after_substitution(text: str, settings: Example) -> None:
    assert converted(text, **ENVIRON) == settings


KNOWN = "Known fields: flag, items, limits, maybe, mode, nested, share, steps, tables, text, until, whole, words"
REFUSED = {
    "whole: '8080'": "whole: expected `int`, got `str`; write it without quotes",
    "flag: 'true'": "flag: expected `bool`, got `str`; write it without quotes",
    "whole: ${BAD}": "whole: expected `int`, got `str`",
    "whole: 1.5": "whole: expected `int`, got `float`",
    "flag: 1": "flag: expected `bool`, got `int`",
    "text: 2026": "text: expected `str`, got `int`; write it in quotes",
    "text: yes": "text: expected `str`, got `bool`; write it in quotes",
    "text:": "text: expected `str`, got `null`",
    "text: [a]": "text: expected `str`, got `list`",
    "mode: fats": "mode: `fats` is not one of fast, off (did you mean `fast`?)",
    "until: 2026-12-01T00:00:00Z": "until: expected `date | null`, got `datetime`",
    "words: a": "words: expected a list, got `str`",
    "words: [a, 1]": "words[1]: expected `str`, got `int`; write it in quotes",
    "items: {a: 1}": "items: expected a list, got `dict`",
    "items:": "items: expected a list, got nothing",
    "items: [{name: a, limit: 11}]": "items[0] (a).limit: expected `int` <= 10, got 11",
    "items: [{name: a, limt: 1}]": "items[0] (a): unknown field `limt` (did you mean `limit`?). Known fields: limit, name",
    "items: [{limit: 1}]": "items[0]: the field `name` is missing",
    "tables: {users: {name: a, limit: -1}}": "tables.users.limit: expected `int` >= 0, got -1",
    "tables: {users: {nam: a}}": "tables.users: unknown field `nam` (did you mean `name`?). Known fields: limit, name",
    "tables: {users: }": "tables.users: expected a mapping, got nothing",
    "nested: {name: a, limit: b}": "nested.limit: expected `int`, got `str`",
    "nested: text": "nested: expected `mapping | null`, got `str`",
    "steps: [a]": "steps[0]: expected `float | mapping`, got `str`",
    "steps: [{percnt: 1}]": "steps[0]: unknown field `percnt` (did you mean `percent`?). Known fields: percent",
    "limits: {a: b}": "limits.a: expected `int`, got `str`",
    "wholes: 1": f"the file: unknown field `wholes` (did you mean `whole`?). {KNOWN}",
    "zzz: 1": f"the file: unknown field `zzz`. {KNOWN}",
}


@pytest.mark.parametrize(("text", "message"), REFUSED.items())
def test_an_error_names_the_place_and_the_remedy(text: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        converted(text, **ENVIRON)
    assert str(caught.value) == message


def test_a_text_that_may_be_secret_is_not_shown() -> None:
    with pytest.raises(SettingsError) as caught:
        converted("whole: ${PASSWORD}", PASSWORD="hunter2")
    assert "hunter2" not in str(caught.value)
