"""The window of a client covers now, is no longer than its period, and follows the one before."""

import hashlib
import zlib

from hypothesis import given
from hypothesis import strategies as st

from scorer.domain.rate_limit import Rate, RateGroup, window_of

clients = st.text(st.characters(codec="ascii", exclude_characters="."), max_size=12)
periods = st.integers(1, 86400)
moments = st.integers(0, 4_102_444_800)


def key(period: int, client: str, now: int) -> str:
    return window_of(Rate(5, period), RateGroup.REGISTRY, client=client, now=now).key


def end_of(period: int, client: str, now: int) -> int:
    return now + (zlib.crc32(client.encode()) - now) % period


@given(periods, clients, moments)
def test_window_ends_at_the_clients_next_offset(period: int, client: str, now: int):
    name = f"registry5/{period}s{client}{end_of(period, client, now)}"
    assert key(period, client, now) == ":1:rl:" + hashlib.sha256(name.encode()).hexdigest()


@given(periods, clients, moments)
def test_all_moments_of_a_window_share_a_counter(period: int, client: str, now: int):
    assert key(period, client, now) == key(period, client, end_of(period, client, now))


@given(periods, clients, moments)
def test_moment_after_a_window_starts_another(period: int, client: str, now: int):
    assert key(period, client, now) != key(period, client, end_of(period, client, now) + 1)
