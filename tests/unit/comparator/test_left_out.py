"""A table whose rows may be of another request is left out of the comparison on both sides, and named."""

from dataclasses import replace

import pytest

from comparator.exchanges.comparison import Verdict
from comparator.exchanges.model import Observation
from comparator.settings import CompareSettings
from comparator.store.comparison_detail import detail_of, packed_detail, unpacked_detail
from comparator.store.report import render_comparison
from comparator.verdict import Comparator, confirm
from tests.support.comparisons import NOW, effects, insert, mirrored, response, served


def leaving_out(observation: Observation, *tables: str) -> Observation:
    return replace(observation, effects=replace(observation.effects, left_out=frozenset(tables)))


@pytest.mark.parametrize("left_out_by", ["served", "mirrored"])
def test_table_whose_rows_may_be_of_another_request_is_left_out_on_both_sides_and_named(left_out_by: str) -> None:
    a = served(response({}), effects(insert("audit", id=1, what="x"), insert("passport", id=1, address="a")))
    b = mirrored(response({}), effects(insert("passport", id=2, address="a")))
    a, b = (leaving_out(a, "audit"), b) if left_out_by == "served" else (a, leaving_out(b, "audit"))
    found = Comparator(CompareSettings()).compare("r", a, b, now=NOW)
    assert (found.verdict, found.left_out, found.undescribed) == (Verdict.MATCH, ("audit",), ("passport",))
    assert "not compared, their rows may be of another request: audit" in render_comparison(found)
    assert detail_of(found).left_out == ("audit",)
    assert unpacked_detail(packed_detail(found)).left_out == ("audit",)


def test_nothing_but_a_table_left_out_is_named_too() -> None:
    both = served(response({})), leaving_out(mirrored(response({})), "audit")
    found = Comparator(CompareSettings()).compare("r", *both, now=NOW)
    assert (found.verdict, found.left_out) == (Verdict.MATCH, ("audit",))
    assert packed_detail(found) is not None


def test_second_run_that_leaves_out_the_differing_table_confirms_nothing() -> None:
    a, b = served(response({}), effects(insert("audit", id=1, what="x"))), mirrored(response({}))
    comparator = Comparator(CompareSettings())
    first = comparator.compare("r", a, b, now=NOW)
    second = comparator.compare("r", a, leaving_out(b, "audit"), now=NOW)
    assert (first.verdict, second.verdict) == (Verdict.MISMATCH, Verdict.MATCH)
    assert confirm(first, second) is first
