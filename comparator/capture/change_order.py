"""Put the logged changes of one transaction into the order in which they were made. Pure.

A trigger logs the changes of a statement when it has ended. What a trigger of the application, a cascade or a function changes in the
meantime is a statement inside of it, which ends before all of its rows are logged:

    INSERT INTO t VALUES (1, 'a'), (2, 'b')     a trigger AFTER INSERT of row 1 sets row 2 to 'c'
        logged    1: -> a       2: b -> c       2: -> b
        made      1: -> a       2: -> b         2: b -> c

The images tell: each change of a row begins with the image that the one before has left, and a row is inserted where there is none. So the
changes of one primary key are a path through its images that takes each step once (an Eulerian path), and every such path has the same two
ends: the row before the transaction, and after it.

Two cases are left as they were logged. Rows without a primary key are only counted, in any order. And a row that ends as it began, which
a path tells in two ways: x -> b, b -> x, or b -> x, x -> b.
"""

import heapq
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from comparator.exchanges.row_changes import Op, Row, RowChange, RowDescription

Key = tuple[str | None, ...]
Image = tuple[str | None, ...] | None
"""The values of a row; None where there is none."""


@dataclass(frozen=True, slots=True)
class _Step:
    """The effect of one change on one key: from one image to another. `number` is the place of the change in the log."""

    number: int
    before: Image
    after: Image


def in_order(logged: Sequence[RowChange], keys: Mapping[int, Sequence[str]]) -> tuple[RowChange, ...]:
    """Return the changes of one transaction in the order in which they were made.

    Args:
        logged: in the order of the log.
        keys: columns of the primary key by the table's oid; a table without one is absent.
    """
    ordered = list(logged)
    for oid, columns, numbers in _sections(logged, keys):
        changes = [logged[number] for number in numbers]
        key = keys[oid]
        if key and columns.issuperset(key) and not _agrees(changes, key):
            for place, made in zip(numbers, _made(changes, key, sorted(columns)), strict=True):
                ordered[place] = changes[made]
    return tuple(ordered)


def _sections(
    logged: Sequence[RowChange], keys: Mapping[int, Sequence[str]]
) -> list[tuple[int, frozenset[str], list[int]]]:
    """Return oid, columns and changes of each part of a table's changes: neither a TRUNCATE nor a new definition is within a statement."""
    found: list[tuple[int, frozenset[str], list[int]]] = []
    current: dict[int, tuple[int, frozenset[str], list[int]]] = {}
    last: RowDescription | None = None
    numbers: list[int] = []
    for number, change in enumerate(logged):
        description = change.description
        if description is last and description is not None and change.op is not Op.TRUNCATE:
            # Most changes are of the table of the one before.
            numbers.append(number)
            continue
        last = None
        if description is None or description.oid not in keys:
            continue
        if change.op is Op.TRUNCATE:
            current.pop(description.oid, None)
            continue
        section = current.get(description.oid)
        if section is None or section[1] != frozenset(description.columns):
            numbers = []
            section = current[description.oid] = (description.oid, frozenset(description.columns), numbers)
            found.append(section)
        last, numbers = description, section[2]
        numbers.append(number)
    return [section for section in found if len(section[2]) > 1]


def _agrees(changes: Sequence[RowChange], key: Sequence[str]) -> bool:
    """Return whether the images agree with the order of the log."""
    rows: dict[Key, Row | None] = {}
    for change in changes:
        before, after = change.before, change.after
        old = _key(before, key) if before is not None else None
        new = _key(after, key) if after is not None else None
        if old is not None:
            if old in rows and rows[old] != before:
                return False
            rows[old] = None
        if new is not None:
            if new != old and rows.get(new) is not None:
                return False
            rows[new] = after
    return True


def _key(row: Row, key: Sequence[str]) -> Key:
    return tuple([row[column] for column in key])


def _made(changes: Sequence[RowChange], key: Sequence[str], columns: Sequence[str]) -> list[int]:
    """Return the numbers of the changes in the order in which they were made; in that of the log where the images show none."""
    steps: dict[Key, list[_Step]] = defaultdict(list)
    for number, change in enumerate(changes):
        before, after = change.before, change.after
        old = _key(before, key) if before is not None else None
        new = _key(after, key) if after is not None else None
        left = _key(before, columns) if before is not None else None
        arrived = _key(after, columns) if after is not None else None
        if old is not None and old == new:
            steps[old].append(_Step(number, left, arrived))
            continue
        if old is not None:
            steps[old].append(_Step(number, left, None))
        if new is not None:
            steps[new].append(_Step(number, None, arrived))
    return _merged([_path(of_key) for of_key in steps.values()], len(changes))


def _path(steps: Sequence[_Step]) -> list[int]:
    """Return the numbers of the steps along a path that takes each once; in the log's order if that is one, or if there is none.

    Hierholzer's algorithm: go on as long as there is a step to take; when there is none, the last one taken is the path's last, and so on
    backwards.
    """
    as_logged = [step.number for step in steps]
    if all(step.after == following.before for step, following in pairwise(steps)):
        return as_logged
    surplus: dict[Image, int] = defaultdict(int)
    for step in steps:
        surplus[step.before] += 1
        surplus[step.after] -= 1
    begins = [image for image, count in surplus.items() if count > 0]
    if len(begins) > 1:
        return as_logged
    leaving: dict[Image, list[_Step]] = defaultdict(list)
    for step in reversed(steps):
        leaving[step.before].append(step)
    path: list[int] = []
    # Each entry: the image that was reached, and the step that led there. A row that ends as it began was absent, if it ever was.
    stack: list[tuple[Image, int | None]] = [
        (begins[0] if begins else None if None in surplus else steps[0].before, None)
    ]
    while stack:
        image, taken = stack[-1]
        if leaving[image]:
            step = leaving[image].pop()
            stack.append((step.after, step.number))
            continue
        stack.pop()
        if taken is not None:
            path.append(taken)
    return path[::-1] if len(path) == len(steps) else as_logged


def _merged(paths: Sequence[Sequence[int]], count: int) -> list[int]:
    """Return an order of all numbers that agrees with each path, as near to the log's as can be; the log's if there is none."""
    following: dict[int, list[int]] = defaultdict(list)
    waits = [0] * count
    for path in paths:
        for number, after in pairwise(path):
            following[number].append(after)
            waits[after] += 1
    ready = [number for number in range(count) if not waits[number]]
    merged: list[int] = []
    while ready:
        number = heapq.heappop(ready)
        merged.append(number)
        for after in following[number]:
            waits[after] -= 1
            if not waits[after]:
                heapq.heappush(ready, after)
    return merged if len(merged) == count else list(range(count))
