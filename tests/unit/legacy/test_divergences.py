import pytest

from tests.legacy.divergences import Divergence, Divergences, selected

ADDRESSES = [f"0x{number:040x}" for number in range(2_000)]


def test_no_fault_is_active_by_default() -> None:
    chosen = Divergences.parse("")
    assert not any(chosen.diverges(divergence, ADDRESSES[0]) for divergence in Divergence)


def test_name_without_share_applies_to_every_address() -> None:
    chosen = Divergences.parse("lost_stamp, slow_response")
    assert all(chosen.diverges(Divergence.LOST_STAMP, address) for address in ADDRESSES)
    assert all(chosen.diverges(Divergence.SLOW_RESPONSE, address) for address in ADDRESSES)
    assert not any(chosen.diverges(Divergence.WRONG_WEIGHT, address) for address in ADDRESSES)


def test_share_selects_about_that_many_addresses() -> None:
    found = sum(selected(Divergence.LOST_STAMP, address, 0.1) for address in ADDRESSES)
    assert 150 < found < 250


def test_larger_share_keeps_the_addresses_of_the_smaller() -> None:
    small = {address for address in ADDRESSES if selected(Divergence.LOST_STAMP, address, 0.1)}
    large = {address for address in ADDRESSES if selected(Divergence.LOST_STAMP, address, 0.3)}
    assert small < large


def test_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match="lost_everything"):
        Divergences.parse("lost_everything")
