"""All shapes."""

from tests.zoo.shape import Shape
from tests.zoo.shapes import constraints, keys, storage, transactions, triggers, values

SHAPES: tuple[Shape, ...] = (
    *keys.SHAPES,
    *constraints.SHAPES,
    *triggers.SHAPES,
    *values.SHAPES,
    *storage.SHAPES,
    *transactions.SHAPES,
)
