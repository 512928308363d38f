"""Times and ids of generated requests."""

import itertools

from comparator.exchanges.model import Response
from proxy.recordings.model import RecordedExchange
from proxy.replay.arrival_times import GeneratedRequest, with_arrival_times

BEGIN_NS = 1_700_000_000_000_000_000


def made(number: int) -> GeneratedRequest:
    return GeneratedRequest(
        "POST", f"/score/{number}", {"X-API-Key": "k"}, "add", status=201, body='{"ä": 1}', key="0xab"
    )


def arrived(count: int, *, seed: int = 1) -> list[RecordedExchange]:
    return list(
        with_arrival_times(map(made, range(count)), seed=seed, begin_ns=BEGIN_NS, rate_per_s=50, host="api.example")
    )


def test_generated_request_keeps_its_parts() -> None:
    (item,) = arrived(1)
    assert (item.request.method, item.request.target, item.key, item.started_ns) == (
        "POST",
        "/score/0",
        "0xab",
        BEGIN_NS,
    )
    assert item.request.body == '{"ä": 1}'.encode()
    assert item.request.headers == (("Host", "api.example"), ("User-Agent", "generated/add"), ("X-API-Key", "k"))
    assert item.outcome == Response(201, (), b"")


def test_arrivals_begin_at_begin_and_increase() -> None:
    times = [item.started_ns for item in arrived(200)]
    assert times[0] == BEGIN_NS
    assert times == sorted(times)


def test_arrivals_have_the_mean_rate_and_vary() -> None:
    times = [item.started_ns for item in arrived(2_000)]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert 0.9 < 2_000 / ((times[-1] - times[0]) / 1e9) / 50 < 1.1
    # In a Poisson process, a share of 1 / e of the gaps is longer than the mean.
    assert 0.3 < sum(gap > 1e9 / 50 for gap in gaps) / len(gaps) < 0.44


def test_ids_are_unique_and_determined_by_the_seed() -> None:
    ids = [item.id for item in arrived(100)]
    assert len(set(ids)) == 100
    assert ids == [item.id for item in arrived(100)]
    assert set(ids).isdisjoint(item.id for item in arrived(100, seed=2))
