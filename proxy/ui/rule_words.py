"""Say in a few words what a rule allows, by its configuration path. Pure.

compare.rules[3]                                       within 60 s (scoring)
compare.tables.score.volatile.updated_at               within 60 s
compare.tables.event.json.data.ignore[0]               ignored
"""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from comparator.rules.actions import moment_of, number_of
from comparator.settings import CompareSettings, RuleSettings
from comparator.tables import JsonColumn, Table, Volatile


@dataclass(frozen=True, slots=True)
class RuleWords:
    """The words of a rule.

    Attributes:
        allows: in a few words.
        owner: person or team in charge, "" for none.
        reason: its justification, "" for none.
        path: its path or column, as it is written in config.yaml.
        expires: last day on which it allows anything, None for no end.
    """

    allows: str
    owner: str = ""
    reason: str = ""
    path: str = ""
    expires: dt.date | None = None

    @property
    def line(self) -> str:
        """The words, with the owner: `within 60 s (scoring)`."""
        return f"{self.allows} ({self.owner})" if self.owner else self.allows


def rules_in_words(compare: CompareSettings) -> Mapping[str, RuleWords]:
    """Return the words of every rule of a configuration, by its configuration path."""
    rules: dict[str, RuleWords] = {}
    rules.update(_body_rules(compare.rules, "compare.rules"))
    for name, route in compare.routes.items():
        rules.update(_body_rules(route.rules, f"compare.routes.{name}.rules"))
    for name, table in compare.tables.items():
        rules.update(_table_rules(table, f"compare.tables.{name}"))
    for number, known in enumerate(compare.known_differences):
        words = f"known difference: {known.reason}"
        rules[f"compare.known_differences[{number}]"] = RuleWords(
            words, known.owner, known.reason, known.name, known.expires
        )
    return rules


def _body_rules(rules: Sequence[RuleSettings], where: str) -> Iterator[tuple[str, RuleWords]]:
    for number, rule in enumerate(rules):
        yield f"{where}[{number}]", RuleWords(_allowed(rule), rule.owner, rule.reason, rule.path, rule.expires)


def _allowed(rule: RuleSettings) -> str:
    if rule.absolute is not None:
        return f"numbers within {rule.absolute}"
    if rule.relative is not None:
        return f"numbers within a share of {rule.relative}"
    if rule.places is not None:
        return f"equal at {rule.places} decimals"
    if rule.time_within_ms is not None:
        return _within(rule.time_within_ms)
    if rule.generated:
        return "equal outside of generated parts"
    if rule.unordered:
        return "in any order"
    if rule.key_by:
        return f"matched by {', '.join(rule.key_by)}"
    return f"the same {rule.same} in another notation" if rule.same else "ignored"


def _within(milliseconds: int) -> str:
    return f"within {milliseconds / 1000:g} s" if milliseconds >= 1000 else f"within {milliseconds} ms"


def _table_rules(table: Table, where: str) -> Iterator[tuple[str, RuleWords]]:
    for column, volatile in table.volatile.items():
        yield f"{where}.volatile.{column}", RuleWords(_tolerated(volatile), path=column)
    for column, json in table.json.items():
        yield from _column_rules(json, column, f"{where}.json.{column}")


def _tolerated(volatile: Volatile) -> str:
    if volatile.within_ms is not None:
        return _within(volatile.within_ms)
    return "equal outside of generated parts" if volatile.generated else "ignored"


def _column_rules(json: JsonColumn, column: str, where: str) -> Iterator[tuple[str, RuleWords]]:
    for number, path in enumerate(json.ignore):
        yield f"{where}.ignore[{number}]", RuleWords("ignored", path=f"{column}.{path}")
    for number, path in enumerate(json.unordered):
        yield f"{where}.unordered[{number}]", RuleWords("in any order", path=f"{column}.{path}")
    for path, milliseconds in json.within_ms.items():
        yield f"{where}.within_ms.{path}", RuleWords(_within(milliseconds), path=f"{column}.{path}")
    for path in json.generated:
        yield f"{where}.generated.{path}", RuleWords("equal outside of generated parts", path=f"{column}.{path}")


def words_of(rules: Mapping[str, RuleWords], identity: str) -> RuleWords:
    """Return the words of a rule; a rule that is not in the configuration any more is named by its path."""
    return rules.get(identity) or RuleWords(f"by {identity}")


_DISTANCE_DIGITS: Final = 3


def distance(candidate: object, legacy: object) -> str:
    """Return how far apart two times or numbers are: `0.32 s apart`, `0.005 apart`; "" for other values, and equal ones."""
    a, b = moment_of(candidate), moment_of(legacy)
    if a is not None and b is not None:
        seconds = abs((a - b).total_seconds())
        return f"{seconds:.{_DISTANCE_DIGITS}g} s apart" if seconds else ""
    left, right = number_of(candidate), number_of(legacy)
    if left is None or right is None or left == right:
        return ""
    return f"{_plain(abs(left - right))} apart"


def _plain(value: Decimal) -> str:
    return f"{value.normalize():.{_DISTANCE_DIGITS}g}"
