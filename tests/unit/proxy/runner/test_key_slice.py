"""proxy.runner.key_slice: each exchange has one owner, and a slice that is added takes keys only for itself."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.runner.key_slice import EVERYTHING, KeySlice, owner_of
from tests.support.exchanges import exchange

NAMES = st.lists(st.from_regex("[a-z][a-z0-9_]{0,15}", fullmatch=True), min_size=2, max_size=6, unique=True)


@given(key=st.text(), names=NAMES, others=st.randoms(use_true_random=False))
def test_order_of_the_names_does_not_matter(key: str, names: list[str], others) -> None:
    shuffled = list(names)
    others.shuffle(shuffled)
    assert owner_of(key, shuffled) == owner_of(key, names)


@given(key=st.text(), names=NAMES)
def test_each_exchange_has_one_owner(key: str, names: list[str]) -> None:
    one = replace(exchange("some-id"), key=key)
    assert sum(KeySlice(name, names).owns(one) for name in names) == 1
    assert sum(KeySlice(name, names).owns_losses_of(key) for name in names) == 1


@given(key=st.text(), names=NAMES)
def test_added_slice_takes_keys_only_for_itself(key: str, names: list[str]) -> None:
    *before, added = names
    after = owner_of(key, names)
    assert after == added or after == owner_of(key, before)


def test_slices_are_about_equal() -> None:
    owned = [owner_of(f"0x{number:040x}", ("a", "b", "c")) for number in range(3_000)]
    assert {name: owned.count(name) for name in "abc"} == pytest.approx(dict.fromkeys("abc", 1_000), abs=120)


def test_key_is_compared_case_insensitively_and_its_absence_goes_by_the_id() -> None:
    names = ("a", "b")
    upper, lower = replace(exchange("1"), key="0xAB"), replace(exchange("2"), key="0xab")
    keyless = replace(exchange("3"), key="")
    assert KeySlice("a", names).owns(upper) is KeySlice("a", names).owns(lower)
    assert KeySlice(owner_of("3", names), names).owns(keyless)


def test_without_slices_everything_is_owned() -> None:
    assert EVERYTHING.owns(exchange("1"))
    assert EVERYTHING.owns_losses_of("w0")
