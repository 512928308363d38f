"""The window of a caller covers now, is no longer than its period, and follows the one before."""

import hashlib
import zlib

from hypothesis import given
from hypothesis import strategies as st

from scorer.domain.rate_limit import Rate, RateGroup, window_of

callers = st.text(st.characters(codec="ascii", exclude_characters="."), max_size=12)
periods = st.integers(1, 86400)
moments = st.integers(0, 4_102_444_800)


def key(period: int, caller: str, now: int) -> str:
    return window_of(Rate(5, period), RateGroup.REGISTRY, caller=caller, now=now).key


def end_of(period: int, caller: str, now: int) -> int:
    return now + (zlib.crc32(caller.encode()) - now) % period


@given(periods, callers, moments)
def test_the_window_ends_at_the_callers_next_offset(period: int, caller: str, now: int):
    name = f"registry5/{period}s{caller}{end_of(period, caller, now)}"
    assert key(period, caller, now) == ":1:rl:" + hashlib.sha256(name.encode()).hexdigest()


@given(periods, callers, moments)
def test_all_moments_of_a_window_share_a_counter(period: int, caller: str, now: int):
    assert key(period, caller, now) == key(period, caller, end_of(period, caller, now))


@given(periods, callers, moments)
def test_the_moment_after_a_window_starts_another(period: int, caller: str, now: int):
    assert key(period, caller, now) != key(period, caller, end_of(period, caller, now) + 1)
