"""proxy.ui.journal: a line names the candidate's figures and the legacy's, whichever side served."""

import pytest

from comparator.exchanges.model import Side
from comparator.store.rows import ComparisonLine
from proxy.ui.journal import JournalLine, SideFigures
from tests.support.comparisons import NOW


@pytest.mark.parametrize("side", Side)
def test_figures_are_those_of_the_sides_whichever_served(side: Side) -> None:
    one = ComparisonLine(NOW, "a", "r", side, "", "match", "none", None, True, 200, 500, 10, 20, 3, 4, 0, {})
    served, mirrored = SideFigures(200, 10, 3), SideFigures(500, 20, 4)
    line = JournalLine(one, "good", "")
    assert (line.candidate, line.legacy) == ((served, mirrored) if side is Side.CANDIDATE else (mirrored, served))
