import hashlib
import zlib

import pytest

from scorer.domain.rate_limit import Rate, RateGroup, parse_rate, passes, window_of


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("125/15m", Rate(125, 900)),
        ("3/s", Rate(3, 1)),
        ("0/h", Rate(0, 3600)),
        ("2/2d", Rate(2, 172800)),
        ("", None),
        (None, None),
    ],
)
def test_rate_is_read(text: str | None, rate: Rate | None):
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["many", "/15m", "5/0m"])
def test_malformed_rate_is_refused(text: str):
    with pytest.raises(ValueError, match=text):
        parse_rate(text)


def test_counter_is_named_as_the_legacy_names_it():
    now, offset = 1_800_000_000, zlib.crc32(b"limited1") % 900
    ends = now - now % 900 + offset
    ends += 900 if ends < now else 0
    name = hashlib.sha256(f"registry4/900slimited1{ends}".encode()).hexdigest()
    assert window_of(Rate(4, 900), RateGroup.REGISTRY, client="limited1", now=now).key == f":1:rl:{name}"


def test_counter_outlives_its_window_by_five_seconds():
    assert window_of(Rate(4, 900), RateGroup.ANALYSIS, client="k", now=0).ttl_s == 905


def test_groups_do_not_share_a_counter():
    one = window_of(Rate(4, 900), RateGroup.REGISTRY, client="k", now=0)
    other = window_of(Rate(4, 900), RateGroup.ANALYSIS, client="k", now=0)
    assert one.key != other.key


def test_limit_itself_still_passes():
    assert [passes(Rate(2, 60), count) for count in (1, 2, 3)] == [True, True, False]
