"""Show the rows that both sides committed for one request, by table and natural key: before, candidate, legacy. Pure.

    registry_score (passport)                 2 of 9 columns differ
      evidence.rawScore      6.463     6.463          Δ 3.763        Δ: this side changed it
      stamps.Gold            {...}     {...}          Δ absent
    registry_stamp (passport, provider)       1 row only on candidate, 2 equal
      [.., "Gold"]           1 row     1 row          Δ no row
      ... 2 equal rows: ["..", "Ens"], ["..", "Twitter"]

What differs comes from the comparator's own differences; the images say what was there before and which side changed it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

from comparator.effects.row_fold import UNKNOWN
from comparator.effects.rows_by_key import RowsByKey
from comparator.exchanges.comparison import Comparison
from comparator.exchanges.difference import Difference, Kind, NaturalKey
from comparator.exchanges.json_place import Path, Step, path_text
from comparator.exchanges.json_values import ABSENT, value_text
from comparator.exchanges.model import EffectsOutcome, LeftOutReason, Observation, Role, Side
from comparator.exchanges.row_changes import Row
from comparator.exchanges.visible_text import visible
from comparator.responses.exact_json import InvalidJsonError, parse
from proxy.ui.json_view import known_words, why_of
from proxy.ui.marked_text import Parts, compared, cut, marked
from proxy.ui.rule_words import RuleWords, words_of

LINES_MAX: Final = 300
"""Lines of all tables; the rows and places beyond are counted."""
TABLE_LINES_MAX: Final = 60
"""Lines of one table."""
KEYS_MAX: Final = 8
"""Equal rows that a fold names by their keys."""
ROW_CHARS_MAX: Final = 300
VALUE_CHARS_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Cell:
    """One side's value of one place.

    Attributes:
        parts: its text; None where it has none.
        changed: this side's request changed it.
        differs: it differs from the other side's.
        absent: words for no text.
    """

    parts: Parts | None
    changed: bool = False
    differs: bool = False
    absent: str = "absent"


@dataclass(frozen=True, slots=True)
class RowLine:
    """One line: a row that only one side has, or a place in a row that differs.

    Attributes:
        name: the natural key, or column and path.
        key: the natural key of the row; "" where `name` is it.
        before: its text before the request, "" for none.
        why: how it differs.
        place: the place as config.yaml names it.
        suppressed: it is a known difference.
    """

    name: str
    key: str
    before: str
    candidate: Cell
    legacy: Cell
    why: str
    place: str
    suppressed: bool = False


@dataclass(frozen=True, slots=True)
class TableView:
    """One table.

    Attributes:
        name: of the table.
        natural_key: columns of its natural key.
        verdict: what differs, in words.
        lines: rows and places that differ.
        equal: equal rows, in words; "" for none.
        allowed: rules that allowed differences, in words.
        left_out: lines that are not shown.
        differs: whether anything differs that no rule and no declaration allows.
    """

    name: str
    natural_key: tuple[str, ...]
    verdict: str
    lines: tuple[RowLine, ...]
    equal: str
    allowed: tuple[str, ...]
    left_out: int
    differs: bool


@dataclass(frozen=True, slots=True)
class RowsView:
    """All tables, those that differ first.

    Attributes:
        tables: tables in which at least one row differs, is allowed to differ, or was changed.
        attribution: how the rows of each side were attributed, in words.
        note: why rows were not compared; "" if they were.
        left_out: tables that were not compared, since their rows may be another request's, each with the reason.
        candidate_changes: row changes of the candidate.
        legacy_changes: row changes of the legacy.
    """

    tables: tuple[TableView, ...]
    attribution: Mapping[Side, str]
    note: str
    left_out: Mapping[str, LeftOutReason]
    candidate_changes: int
    legacy_changes: int


_OUTCOMES: Final = {
    EffectsOutcome.AMBIGUOUS: "ambiguous: a transaction matches several requests",
    EffectsOutcome.INTERFERED: "not certain: a background writer changed the same rows",
    EffectsOutcome.OVERLAPPED: "not certain: another request with its key ran at the same time",
    EffectsOutcome.UNJOURNALED: "not certain: a request that is not in the journal may have written them",
    EffectsOutcome.UNTAGGED: "not certain: the side named this request in no transaction",
    EffectsOutcome.LOST: "lost: the capture was interrupted",
    EffectsOutcome.OFF: "off: row changes are not captured",
}


def attribution_in_words(observation: Observation) -> str:
    """Say how certain it is that a side's rows are those of this request."""
    effects = observation.effects
    if effects.outcome is not EffectsOutcome.ATTRIBUTED:
        return _OUTCOMES[effects.outcome]
    if not effects.transactions:
        return "no rows, certain"
    named = all(transaction.names for transaction in effects.transactions)
    return "by request id, certain" if named else "alone on its keys at the time, certain"


def rows_view(
    comparison: Comparison,
    served: Observation,
    mirrored: Observation,
    rows: RowsByKey,
    rules: Mapping[str, RuleWords],
) -> RowsView:
    """Show the rows of both sides.

    Args:
        comparison: the comparison of both observations.
        served: the serving side's observation.
        mirrored: the mirrored side's.
        rows: the rows of both by natural key (`Comparator.rows_by_key`).
        rules: words of the rules (`rules_in_words`).
    """
    builder = _Builder(comparison, rows, rules)
    sides = {served.side: served, mirrored.side: mirrored}
    return RowsView(
        tuple(builder.tables()),
        {side: attribution_in_words(observation) for side, observation in sides.items()},
        comparison.effects_note,
        comparison.left_out,
        _changes(sides[Side.CANDIDATE]),
        _changes(sides[Side.LEGACY]),
    )


def _changes(observation: Observation) -> int:
    return sum(len(transaction.changes) for transaction in observation.effects.transactions)


@dataclass(slots=True)
class _Found:
    """The findings about the rows of one natural key: differences, and which of them are known."""

    differences: list[tuple[Difference, str]] = field(default_factory=list[tuple[Difference, str]])


class _Builder:
    def __init__(self, comparison: Comparison, rows: RowsByKey, rules: Mapping[str, RuleWords]) -> None:
        self._comparison = comparison
        self._served_by = comparison.served_by
        self._rows = rows
        self._rules = rules
        self._lines_left = LINES_MAX
        self._found: dict[str, dict[NaturalKey, _Found]] = {}
        for difference, known in self._all_differences():
            table = self._found.setdefault(difference.table, {})
            table.setdefault(difference.natural_key, _Found()).differences.append((difference, known))

    def _all_differences(self) -> Iterator[tuple[Difference, str]]:
        for difference in self._comparison.differences:
            if difference.table:
                yield difference, ""
        for known in self._comparison.known:
            if known.difference.table:
                yield known.difference, known_words(known)

    def tables(self) -> Iterator[TableView]:
        names = dict.fromkeys((*self._found, *self._rows.tables))
        return iter([self._table(name) for name in sorted(names, key=lambda name: (name not in self._found, name))])

    def _table(self, name: str) -> TableView:
        found, groups = self._found.get(name, {}), self._rows.tables.get(name, {})
        lines: list[RowLine] = []
        left_out = 0
        for one in found.values():
            for difference, known in one.differences:
                if len(lines) >= TABLE_LINES_MAX or self._lines_left <= 0:
                    left_out += 1
                    continue
                self._lines_left -= 1
                lines.append(self._line(difference, known))
        equal = [key for key in groups if key not in found]
        return TableView(
            name,
            self._rows.natural_keys.get(name, ()),
            _verdict(found, len(equal), self._served_by),
            tuple(lines),
            _equal_rows(equal),
            tuple(self._allowed(name)),
            left_out,
            any(not known for one in found.values() for _, known in one.differences),
        )

    def _line(self, difference: Difference, known: str) -> RowLine:
        key = key_text(difference.natural_key)
        if not difference.column:
            return self._row_line(difference, known, key)
        name = f"{difference.column}.{path_text(difference.path)}" if difference.path else difference.column
        before = self._before(difference)
        left, right = _value(difference.served, difference.path), _value(difference.mirrored, difference.path)
        if difference.served is ABSENT or difference.mirrored is ABSENT:
            texts: tuple[Parts, Parts] = marked(left, VALUE_CHARS_MAX), marked(right, VALUE_CHARS_MAX)
        else:
            texts = compared(left, right)
        cells = [
            Cell(None if value is ABSENT else parts, _changed(before, value), differs=True)
            for parts, value in zip(texts, (difference.served, difference.mirrored), strict=True)
        ]
        text = (
            ""
            if before is ABSENT or before is UNKNOWN
            else visible(cut(_value(before, difference.path), VALUE_CHARS_MAX))
        )
        return self._oriented(name.replace(".[", "["), key, text, cells, difference, known)

    def _row_line(self, difference: Difference, known: str, key: str) -> RowLine:
        group = self._rows.tables.get(difference.table, {}).get(difference.natural_key)
        before = group.before if group else ()
        cells: list[Cell] = []
        for role, value in ((Role.SERVED, difference.served), (Role.MIRRORED, difference.mirrored)):
            changed = bool(group and role in group.changed_by)
            parts = None if value is ABSENT else marked(row_text(value), ROW_CHARS_MAX)
            absent = "no row: deleted, not written again" if changed and before else "no row"
            cells.append(Cell(parts, changed, differs=True, absent=absent))
        count = f"{len(before)} row{'s' * (len(before) != 1)}" if before else ""
        return self._oriented(key or "(no natural key)", "", count, cells, difference, known)

    def _oriented(
        self, name: str, key: str, before: str, cells: Sequence[Cell], difference: Difference, known: str
    ) -> RowLine:
        served, mirrored = cells
        candidate, legacy = (served, mirrored) if self._served_by is Side.CANDIDATE else (mirrored, served)
        why = known or why_of(difference, self._served_by)
        return RowLine(name, key, before, candidate, legacy, why, difference.place, bool(known))

    def _before(self, difference: Difference) -> object:
        """Return the value of a place before the request: ABSENT where there was none, UNKNOWN where several rows had the key."""
        group = self._rows.tables.get(difference.table, {}).get(difference.natural_key)
        if group is None or len(group.before) != 1:
            return UNKNOWN if group is not None and group.before else ABSENT
        return value_at(group.before[0], difference.column, difference.path)

    def _allowed(self, table: str) -> Iterator[str]:
        places: dict[tuple[str, str], int] = {}
        for hit in self._comparison.rule_hits:
            if hit.table == table and not hit.expired:
                inside = f"{hit.column}.{path_text(hit.path)}" if hit.path else hit.column
                place = inside, words_of(self._rules, hit.rule).line
                places[place] = places.get(place, 0) + 1
        for number, ((place, words), count) in enumerate(places.items()):
            if number == KEYS_MAX:
                yield f"{len(places) - KEYS_MAX} more places"
                return
            yield f"{place} {words}" + (f" in {count} rows" if count > 1 else "")


def _changed(before: object, value: object) -> bool:
    """Return whether a value is another one than before; an unknown one before says nothing."""
    return before is not UNKNOWN and value_text(before) != value_text(value)


def _value(value: object, path: Path) -> str:
    """Write a value: a column's as PostgreSQL does, one inside of a JSON column as JSON."""
    return value if isinstance(value, str) and not path else value_text(value)


def value_at(row: Row, column: str, path: Path) -> object:
    """Return the value of a place in an image of a row: a text, or a part of a JSON document; ABSENT for none."""
    value: object = row.get(column, ABSENT)
    if not path or not isinstance(value, str):
        return value
    try:
        value = parse(value.encode())
    except (InvalidJsonError, UnicodeEncodeError):
        return ABSENT
    for step in path:
        value = _below(value, step)
    return value


def _below(value: object, step: Step) -> object:
    if isinstance(value, dict):
        return cast("dict[Step, Any]", value).get(step, ABSENT)
    if isinstance(value, list) and isinstance(step, int):
        items = cast("list[Any]", value)
        return items[step] if step < len(items) else ABSENT
    return ABSENT


def key_text(key: NaturalKey) -> str:
    """Write a natural key, nested ones included: `0xab, Ens`; "" for none."""
    return visible(cut(", ".join(_key_part(part) for part in key), VALUE_CHARS_MAX))


def _key_part(part: object) -> str:
    if isinstance(part, tuple | list):
        return "(" + ", ".join(_key_part(item) for item in cast("Iterable[object]", part)) + ")"
    return "null" if part is None else str(part)


def row_text(image: object) -> str:
    """Write a row in one line: `provider Ens, created_at 2026-..`."""
    if not isinstance(image, Mapping):
        return value_text(image)
    row = cast("Mapping[str, object]", image)
    return ", ".join(f"{column} {'null' if value is None else value}" for column, value in row.items())


def _verdict(found: Mapping[NaturalKey, _Found], equal: int, served_by: Side) -> str:
    rows = dict.fromkeys(Side, 0)
    places = known = late = 0
    for one in found.values():
        for difference, declared in one.differences:
            known += bool(declared)
            if difference.kind in {Kind.MISSING_ROW, Kind.EXTRA_ROW}:
                rows[served_by if difference.kind is Kind.MISSING_ROW else served_by.other] += 1
            elif difference.kind is Kind.LATE:
                late += 1
            else:
                places += 1
    words = [f"{count:,} row{'s' * (count != 1)} only on {side}" for side, count in rows.items() if count]
    words += [f"{places:,} place{'s' * (places != 1)} differ{'s' * (places == 1)}"] if places else []
    words += [f"{late:,} committed after the response on one side"] if late else []
    words += [f"{known:,} known"] if known else []
    words += [f"{equal:,} equal"] if equal else []
    return ", ".join(words) or "no rows"


def _equal_rows(keys: Sequence[NaturalKey]) -> str:
    if not keys:
        return ""
    names = "; ".join(cut(key_text(key), 60) for key in keys[:KEYS_MAX] if key)
    more = f" and {len(keys) - KEYS_MAX:,} more" if len(keys) > KEYS_MAX else ""
    return f"{len(keys):,} equal row{'s' * (len(keys) != 1)}" + (f": {names}{more}" if names else "")
