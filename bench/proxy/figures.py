"""Statistics of the samples: medians, ratios within a round, slopes. Pure."""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

AIMS = {
    "nginx": 1.3,
    "nginx-log": 1.3,
    "envoy": 3.0,
    "envoy-tap": 3.0,
    "aiohttp": 10.0,
    "aiohttp-journal": 10.0,
    "mitmproxy": 30.0,
}
"""Aimed ratio of requests per second, ours with its journal over the peer: with mirroring only, and with the same functions as ours."""
ADDED_P99_MS_MAX = 1.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One system in one round.

    Attributes:
        cpu_us: CPU time per request in microseconds, from the first request until the last copy is sent.
        core: share of a core that the system used under load.
        load_core: share of a core that load generator and backends used. If neither is near 1, something else used the machine.
        added_p50_ms: over direct requests in the same seconds; None where it was not measured.
        added_p99_ms: as added_p50_ms.
        copies: exchanges to be mirrored, journaled or both; None for a system that does neither.
        lost: of these, those that did not arrive.
        errors: responses that were not 200, and lost connections.
    """

    rps: float
    cpu_us: float
    core: float
    load_core: float
    rss_mb: float
    p50_ms: float | None
    p99_ms: float | None
    added_p50_ms: float | None
    added_p99_ms: float | None
    copies: int | None
    lost: int | None
    errors: int


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which `share` of the ordered values lie."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def median(samples: Iterable[Sample], of: Callable[[Sample], float | None]) -> float | None:
    """Return the median over the rounds that have the figure, None if none has."""
    values = [value for value in map(of, samples) if value is not None]
    return statistics.median(values) if values else None


def round_ratios(ours: Sequence[Sample], peer: Sequence[Sample], of: Callable[[Sample], float | None]) -> list[float]:
    """Return the ratio of ours to the peer in each round. Rounds in which either figure is missing or not positive are left out."""
    pairs = [(of(our), of(other)) for our, other in zip(ours, peer, strict=True)]
    return [our / other for our, other in pairs if our is not None and other is not None and min(our, other) > 0]


def ratio(ours: Sequence[Sample], peer: Sequence[Sample], of: Callable[[Sample], float | None]) -> float | None:
    """Return the median of the ratios of the rounds, None if there are none."""
    values = round_ratios(ours, peer, of)
    return statistics.median(values) if values else None


def ratios(ours: Sequence[Sample], peer: Sequence[Sample]) -> dict[str, object]:
    """Return all ratios of ours to the peer. More is better for `rps`, less for the others."""
    return {
        "rps": _rounded(ratio(ours, peer, lambda sample: sample.rps)),
        "rps_rounds": [_rounded(value) for value in round_ratios(ours, peer, lambda sample: sample.rps)],
        "cpu": _rounded(ratio(ours, peer, lambda sample: sample.cpu_us)),
        "added_p50": _rounded(ratio(ours, peer, lambda sample: sample.added_p50_ms)),
        "added_p99": _rounded(ratio(ours, peer, lambda sample: sample.added_p99_ms)),
    }


def own_name(samples: Mapping[str, list[Sample]]) -> str | None:
    """Return the name of the system that all others are compared with: this checkout, or else the first other checkout."""
    names = [name for name in samples if name.partition("@")[0] == "ours"]
    return "ours" if "ours" in names else next(iter(names), None)


def aims(samples: Mapping[str, list[Sample]]) -> dict[str, dict[str, float | bool | None]]:
    """Return which aims were reached, of those that were measured."""
    name_of_ours = own_name(samples)
    if name_of_ours is None:
        return {}
    ours = samples[name_of_ours]
    result: dict[str, dict[str, float | bool | None]] = {}
    for name, aim in AIMS.items():
        if samples.get(name):
            by_rps = ratio(ours, samples[name], lambda sample: sample.rps) or 0.0
            by_cpu = 1 / (ratio(ours, samples[name], lambda sample: sample.cpu_us) or float("inf"))
            result[f"rps_over_{name.replace('-', '_')}"] = {
                "aim": aim,
                "by_rps": _rounded(by_rps),
                "by_cpu": _rounded(by_cpu),
                "reached": by_rps >= aim,
            }
    added = median(ours, lambda sample: sample.added_p99_ms)
    if added is not None:
        result["added_p99_ms"] = {"aim": ADDED_P99_MS_MAX, "is": _rounded(added), "reached": added < ADDED_P99_MS_MAX}
    return result


def slope(values: Sequence[tuple[float, float]]) -> float:
    """Return the slope of y over x by least squares; 0.0 with fewer than two points."""
    if len(values) < 2:
        return 0.0
    return statistics.linear_regression([x for x, _ in values], [y for _, y in values]).slope


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
