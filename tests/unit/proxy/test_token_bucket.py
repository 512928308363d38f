"""The token bucket."""

import pytest

from proxy.token_bucket import TokenBucket


def taken(bucket: TokenBucket, times: list[float]) -> list[bool]:
    return [bucket.take(at) for at in times]


def test_full_bucket_gives_its_size_at_once() -> None:
    assert taken(TokenBucket.full(1.0, 3.0), [0.0] * 4) == [True, True, True, False]


def test_tokens_come_back_at_the_rate() -> None:
    bucket = TokenBucket.full(2.0, 1.0)
    assert taken(bucket, [0.0, 0.25, 0.5, 0.75]) == [True, False, True, False]


def test_bucket_never_holds_more_than_its_size() -> None:
    assert TokenBucket.full(2.0, 3.0).refill(100.0) == 3.0


@pytest.mark.parametrize("size", [0.0, 0.5])
def test_small_bucket_holds_one_token(size: float) -> None:
    assert taken(TokenBucket.full(1.0, size), [0.0, 0.5]) == [True, False]


def test_debt_is_paid_off_by_refills() -> None:
    bucket = TokenBucket.full(1.0, 2.0)
    bucket.spend(5.0)
    assert [bucket.refill(at) for at in (0.0, 3.0, 4.0)] == [-3.0, 0.0, 1.0]


def test_clock_that_goes_back_adds_no_tokens() -> None:
    bucket = TokenBucket.full(1.0, 1.0, now=5.0)
    assert taken(bucket, [5.0, 1.0, 5.5, 6.0]) == [True, False, False, True]
