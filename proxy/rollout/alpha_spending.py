"""Spend `gates.alpha` by a written schedule: the chance that a candidate which is as good as required is ever rolled back. Pure.

Every test that may roll back gets a share, and the shares of all tests that a rollout can ever make sum to `alpha` at most:

    epoch    1 / ((e + 1) (e + 2)) for the epoch after the e-th resume     1/2 + 1/6 + 1/12 + ...  =  1
    groups   evenly
    steps    evenly, the last one included
    gates    evenly among those that compute intervals and may roll back
    windows  one half for the whole step; one eighth for the windows of each length in RECENT_S, spent at a constant rate: the test of
             one that begins every 5 minutes gets 5 minutes' share of HORIZON_S
    routes   one half for all routes together, the other half evenly among the routes

For example with alpha 0.01, one group, 8 steps, 6 gates and 13 routes the mismatch gate has 0.01 / 2 / 8 / 6 / 2 / 2 = 0.000026 for all
routes over the whole step, and 0.000002 for each route.

A wrong promotion needs no such schedule. It takes the very gate that a bad candidate should not pass, at every step, so each gate opens
at `alpha` itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

RECENT_S: Final = (300, 1_200, 4_800, 19_200)
"""Times between the begins of two windows of fresh evidence, in seconds."""
WINDOWS_AT_ONCE: Final = 4
"""Windows of each length that are judged at the same time: each lasts so many times its length."""
HORIZON_S: Final = 30 * 86_400
"""Time at one step over which each of these windows spends its share."""


@dataclass(frozen=True, slots=True)
class StepAlpha:
    """The share of one step: for each gate, and for the opening of a gate."""

    per_gate: float
    opening: float

    @classmethod
    def of(cls, alpha: float, *, epoch: int, steps: int, groups: int, gates: int) -> "StepAlpha":
        """Divide `alpha` among epochs, groups, steps and the gates that may roll back by intervals."""
        return cls(alpha / ((epoch + 1) * (epoch + 2)) / steps / groups / gates, alpha)

    def of_test(self, length_s: int | None, routes: int, *, is_route: bool) -> float:
        """Return the share of one test of one gate.

        Args:
            length_s: time between two windows of this kind, one of RECENT_S; None for the whole step.
            routes: number of routes that the gate judges one by one, 0 or 1 for none.
            is_route: the test is about one of these routes, and not about all together.
        """
        window = 0.5 if length_s is None else 0.5 / len(RECENT_S) * length_s / HORIZON_S
        if routes <= 1:
            return self.per_gate * window
        return self.per_gate * window * (0.5 / routes if is_route else 0.5)


def window_begins(now_s: float) -> Sequence[tuple[int, float]]:
    """Return the member of RECENT_S and the begin of each window of fresh evidence at a time, the shortest windows first.

    A window begins on a multiple of its length and is judged for WINDOWS_AT_ONCE times that, so the tests are few, and each is valid at
    every moment of its life. After a change there soon is a window that has only seen what came after it. At 10:17:

        10:00 |-------------- one test --------------| 10:20
            10:05 |-------------- another --------------| 10:25
                10:10 |-------------- another --------------| 10:30
                    10:15 |-------------- another --------------| 10:35
    """
    return [
        (length_s, begin_s)
        for length_s in RECENT_S
        for age in range(WINDOWS_AT_ONCE)
        if (begin_s := (now_s // length_s - age) * length_s) < now_s
    ]
