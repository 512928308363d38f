"""List the rules of a configuration, each with what it allows in a few words, by its configuration path. Pure.

A comparison names the rules that applied by these paths, so that their words can be shown beside each difference.

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
from comparator.settings import CompareSettings, KnownPlace, RuleSettings
from comparator.tables import JsonColumn, Table, Volatile


@dataclass(frozen=True, slots=True)
class RuleWords:
    """The words of a rule.

    Attributes:
        allows: in a few words.
        applies_to: the route, the table or `all routes`.
        owner: person or team in charge, "" for none.
        reason: its justification, "" for none.
        path: its path, header or column, as it is written in config.yaml; of a known difference, its name.
        places: of a known difference.
        expires: last day on which it allows anything, None for no end.
        is_known: it declares a known difference.
    """

    allows: str
    applies_to: str = ""
    owner: str = ""
    reason: str = ""
    path: str = ""
    expires: dt.date | None = None
    is_known: bool = False
    places: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """The words, with the owner: `within 60 s (scoring)`."""
        return f"{self.allows} ({self.owner})" if self.owner else self.allows


def rules_in_words(compare: CompareSettings) -> Mapping[str, RuleWords]:
    """Return the words of every rule of a configuration, by its configuration path."""
    rules: dict[str, RuleWords] = {}
    rules.update(_body_rules(compare.rules, "compare.rules", "all routes"))
    for name, route in compare.routes.items():
        rules.update(_body_rules(route.rules, f"compare.routes.{name}.rules", f"route {name}"))
        rules.update(
            _ignored(route.headers.ignore, f"compare.routes.{name}.headers.ignore", f"route {name}", "header ")
        )
    rules.update(_ignored(compare.headers.ignore, "compare.headers.ignore", "all routes", "header "))
    for name, table in compare.tables.items():
        rules.update(_table_rules(table, f"compare.tables.{name}", f"table {name}"))
    for known in compare.known_differences:
        rules[f"compare.known_differences[{known.name}]"] = RuleWords(
            f"known difference: {known.name}",
            f"routes {', '.join(known.routes)}" if known.routes else "all routes",
            known.owner,
            known.reason + (f" [{known.ticket}]" if known.ticket else ""),
            known.name,
            known.expires,
            is_known=True,
            places=tuple(place_text(place) for place in known.where),
        )
    return rules


def place_text(place: KnownPlace) -> str:
    """Return a place of a declared difference: `registry_event.data.provider (extra_row)`."""
    parts = (place.table, place.column, place.path, f"header {place.header}" if place.header else "")
    text = ".".join(part for part in parts if part) or "status"
    return f"{text} ({place.kind})" if place.kind else text


def _body_rules(rules: Sequence[RuleSettings], where: str, applies_to: str) -> Iterator[tuple[str, RuleWords]]:
    for number, rule in enumerate(rules):
        yield (
            f"{where}[{number}]",
            RuleWords(_allowed(rule), applies_to, rule.owner, rule.reason, rule.path, rule.expires),
        )


def _ignored(names: Sequence[str], where: str, applies_to: str, kind: str) -> Iterator[tuple[str, RuleWords]]:
    for number, name in enumerate(names):
        yield f"{where}[{number}]", RuleWords("ignored", applies_to, path=f"{kind}{name}")


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


def _table_rules(table: Table, where: str, applies_to: str) -> Iterator[tuple[str, RuleWords]]:
    yield from _ignored(table.ignore_columns, f"{where}.ignore_columns", applies_to, "")
    for column, volatile in table.volatile.items():
        yield f"{where}.volatile.{column}", RuleWords(_tolerated(volatile), applies_to, path=column)
    for column, json in table.json.items():
        yield from _column_rules(json, column, f"{where}.json.{column}", applies_to)


def _tolerated(volatile: Volatile) -> str:
    if volatile.within_ms is not None:
        return _within(volatile.within_ms)
    return "equal outside of generated parts" if volatile.generated else "ignored"


def _column_rules(json: JsonColumn, column: str, where: str, applies_to: str) -> Iterator[tuple[str, RuleWords]]:
    yield from _ignored(json.ignore, f"{where}.ignore", applies_to, f"{column}.")
    for number, path in enumerate(json.unordered):
        yield f"{where}.unordered[{number}]", RuleWords("in any order", applies_to, path=f"{column}.{path}")
    for path, milliseconds in json.within_ms.items():
        yield f"{where}.within_ms.{path}", RuleWords(_within(milliseconds), applies_to, path=f"{column}.{path}")
    for path in json.generated:
        words = RuleWords("equal outside of generated parts", applies_to, path=f"{column}.{path}")
        yield f"{where}.generated.{path}", words


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
