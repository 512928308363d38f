"""A rate limit holds over every interval, at whatever times the requests come."""

from hypothesis import given
from hypothesis import strategies as st

from proxy.config.mirroring import MirroringSettings
from proxy.serving.mirror_rate_limits import MirrorRateLimits

GAPS = st.lists(st.floats(0, 5, allow_nan=False), min_size=1, max_size=60)


@given(GAPS, st.floats(0.1, 20), st.floats(0.1, 5), st.data())
def test_no_interval_exceeds_rate_and_one_burst(
    gaps: list[float], rate: float, burst_s: float, data: st.DataObject
) -> None:
    limits = MirrorRateLimits(MirroringSettings(per_s_max=rate, burst_s=burst_s), {}, workers=1, now=0.0)
    now, passed = 0.0, []
    for gap in gaps:
        now += gap
        if not limits.exceeded("a", now):
            passed.append(now)
    first = data.draw(st.integers(0, max(len(passed) - 1, 0)))
    interval = passed[first:]
    lasted_s = interval[-1] - interval[0] if interval else 0.0
    assert len(interval) <= max(1.0, rate * burst_s) + rate * lasted_s + 1e-6
    assert passed
