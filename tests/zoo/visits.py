"""The requests that each shape gets, and what must come of each.

Every operation is run equal on both sides, served once by either; then one side deviates, once in each way. Statements that no request
makes run before and after: a job that writes to live alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from comparator.exchanges.model import Side
from tests.zoo.shape import NEW_FROM, SEEDED, Operation, Shape, Statement, filled

IDLE = "idle"
"""A deviation: the mirrored side writes nothing."""
EQUAL = ""


@dataclass(frozen=True)
class Visit:
    """One request to be made.

    Attributes:
        operation: the statements of both sides.
        side: serves it.
        deviation: of the mirrored side: EQUAL, IDLE or the name of a fault.
    """

    operation: Operation
    side: Side
    deviation: str = EQUAL

    def __str__(self) -> str:
        return f"{self.operation} served by {self.side}" + (f", mirrored {self.deviation}" if self.deviation else "")


@dataclass(frozen=True)
class Work:
    """The statements of one request, filled except for `{role}`, and the places where differences must be reported: none for a match."""

    served: tuple[Statement, ...]
    mirrored: tuple[Statement, ...]
    places: frozenset[str]


def visits(shape: Shape) -> Iterator[Visit]:
    """Yield the visits of a shape, in order."""
    candidate, legacy = Side
    for operation in (Operation.INSERT, Operation.UPDATE, Operation.DELETE, Operation.MIXED):
        yield Visit(operation, candidate)
        yield Visit(operation, legacy)
        yield Visit(operation, legacy, IDLE)
    undoable = [name for name, fault in shape.faults.items() if fault.undoable]
    for number, fault in enumerate(undoable):
        yield Visit(Operation.INSERT, (candidate, legacy)[number % 2], fault)
    if shape.truncate:
        yield Visit(Operation.TRUNCATE, candidate)
        yield Visit(Operation.INSERT, legacy)
        yield Visit(Operation.TRUNCATE, legacy, IDLE)
        yield Visit(Operation.INSERT, candidate)
    # Requests behind one of these are skipped until the table has been copied again.
    for fault in shape.faults.keys() - undoable:
        yield Visit(Operation.INSERT, legacy, fault)


def short_visits(shape: Shape) -> Iterator[Visit]:
    """Yield one visit of each operation, and one deviation, which differs from shape to shape."""
    sides = tuple(Side)
    turn = len(shape.name)
    for number, operation in enumerate((Operation.INSERT, Operation.UPDATE, Operation.DELETE, Operation.MIXED)):
        yield Visit(operation, sides[(turn + number) % 2])
    faults = tuple(shape.faults)
    if faults:
        yield Visit(Operation.INSERT, sides[turn % 2], faults[turn % len(faults)])
    if shape.truncate:
        yield Visit(Operation.TRUNCATE, sides[turn % 2])
        yield Visit(Operation.INSERT, sides[(turn + 1) % 2])


class Numbers:
    """Fills the templates of one shape, each time with numbers that were not used before."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._used = 0

    def work(self, visit: Visit) -> Work:
        """Return the statements of a request."""
        self._used += 1
        served = self._filled(self._shape.statements(visit.operation))
        if visit.deviation == EQUAL:
            return Work(served, served, frozenset())
        if visit.deviation == IDLE:
            return Work(served, (), frozenset(self._shape.tables))
        fault = self._shape.faults[visit.deviation]
        return Work(served, served + self._filled(fault.statements), frozenset({fault.place}))

    def background(self, operation: Operation) -> tuple[Statement, ...]:
        """Return statements of a job on live."""
        self._used += 1
        job = self._shape.job if operation is Operation.MIXED else ()
        return self._filled(job or self._shape.statements(operation))

    def _filled(self, statements: tuple[Statement, ...]) -> tuple[Statement, ...]:
        number = self._used
        assert 2 * number <= SEEDED, "the seed has too few rows for all requests"
        numbers = {"new": NEW_FROM + number, "old": 2 * number - 1, "near": 2 * number}
        return tuple(filled(statement, numbers) for statement in statements)
