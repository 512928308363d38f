"""Slices of large matrices of cases: `make test` runs a slice that has every case once, `make test-matrix` runs all of it."""

import os
from collections.abc import Sequence
from typing import TypeVar

FULL = bool(os.environ.get("SHADOW_TEST_MATRIX"))

T = TypeVar("T")


def sliced(cases: Sequence[T], count: int) -> Sequence[T]:
    """Return the first `count` cases, or all of them in the whole matrix."""
    return cases if FULL else cases[:count]


def rotated(number: int, of: Sequence[T]) -> Sequence[T]:
    """Return the one variant whose turn it is for the case of this number, or all of them in the whole matrix."""
    return of if FULL else (of[number % len(of)],)
