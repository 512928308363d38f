"""All shapes."""

from tests.zoo.shape import Shape
from tests.zoo.shapes import constraints, keys, triggers

SHAPES: tuple[Shape, ...] = (*keys.SHAPES, *constraints.SHAPES, *triggers.SHAPES)
