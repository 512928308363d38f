"""Buckets are stable, keyed and monotone."""

from hypothesis import given
from hypothesis import strategies as st

from comparator.exchanges.model import Side
from proxy.config.serve import ServeSettings
from proxy.rollout.buckets import BUCKETS, bucket_of, salt_of, threshold_of
from proxy.rollout.traffic_split import split_of

percents = st.floats(0, 100)


@given(st.text(), st.text())
def test_key_has_one_bucket(key: str, salt: str) -> None:
    bucket = bucket_of(key, salt_of(salt))
    assert 0 <= bucket < BUCKETS
    assert bucket == bucket_of(key, salt_of(salt))


@given(st.integers(0, BUCKETS - 1), percents, percents)
def test_widening_moves_no_bucket_back(bucket: int, one: float, other: float) -> None:
    narrow, wide = sorted((one, other))
    before = split_of(ServeSettings(percent=narrow), rolled_back=False).side_of(bucket)
    after = split_of(ServeSettings(percent=wide), rolled_back=False).side_of(bucket)
    assert before is not Side.CANDIDATE or after is Side.CANDIDATE


@given(st.integers(0, BUCKETS - 1), percents, st.sampled_from(Side))
def test_rollback_puts_every_bucket_on_the_legacy(bucket: int, percent: float, side: Side) -> None:
    assert split_of(ServeSettings(side=side, percent=percent), rolled_back=True).side_of(bucket) is Side.LEGACY


@given(percents)
def test_percentage_covers_its_share(percent: float) -> None:
    # Half a bucket, and what a float of the share itself is off.
    assert abs(threshold_of(percent) - percent * BUCKETS / 100) <= 0.5 + 1e-9


def test_buckets_are_spread_evenly() -> None:
    salt = salt_of("salt")
    below = sum(bucket_of(f"0x{number:040x}", salt) < threshold_of(10) for number in range(20_000))
    assert 1_850 < below < 2_150


def test_another_salt_is_another_order() -> None:
    keys = [str(number) for number in range(100)]
    assert [bucket_of(key, salt_of("a")) for key in keys] != [bucket_of(key, salt_of("b")) for key in keys]
