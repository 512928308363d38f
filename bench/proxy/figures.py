"""What is made of the samples: medians, ratios within a round, slopes. Pure."""

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
"""How many times the peer's requests per second ours, with its journal, shall serve: mirroring only, and like for like."""
ADDED_P99_MS_MAX = 1.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One system in one round.

    `cpu_us` is the CPU time a request from the first to when the last copy has gone, in microseconds: also, milliseconds for 1,000.
    `core` is the share of a core it used under load, `load_core` that of load generator and backends: a figure with neither near
    1 was spoilt by something else that ran. Added latencies are over direct requests of the same seconds; None: not measured.
    `copies` were owed to the second backend, the journal or both, `lost` of them did not come; None: it does not mirror.
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
    """The value below which `share` of the ordered values lie."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def median(samples: Iterable[Sample], of: Callable[[Sample], float | None]) -> float | None:
    """The median over the rounds that have the figure."""
    values = [value for value in map(of, samples) if value is not None]
    return statistics.median(values) if values else None


def round_ratios(ours: Sequence[Sample], peer: Sequence[Sample], of: Callable[[Sample], float | None]) -> list[float]:
    """Ours over the peer in each round. Rounds in which either has no figure, or none above zero, say nothing."""
    pairs = [(of(mine), of(theirs)) for mine, theirs in zip(ours, peer, strict=True)]
    return [
        mine / theirs for mine, theirs in pairs if mine is not None and theirs is not None and min(mine, theirs) > 0
    ]


def ratio(ours: Sequence[Sample], peer: Sequence[Sample], of: Callable[[Sample], float | None]) -> float | None:
    """Ours over the peer: the median of the ratios of the rounds. None: no round says anything."""
    found = round_ratios(ours, peer, of)
    return statistics.median(found) if found else None


def ratios(ours: Sequence[Sample], peer: Sequence[Sample]) -> dict[str, object]:
    """Ours over the peer. `rps`: more is better; the others: less is better."""
    return {
        "rps": _rounded(ratio(ours, peer, lambda one: one.rps)),
        "rps_rounds": [_rounded(one) for one in round_ratios(ours, peer, lambda one: one.rps)],
        "cpu": _rounded(ratio(ours, peer, lambda one: one.cpu_us)),
        "added_p50": _rounded(ratio(ours, peer, lambda one: one.added_p50_ms)),
        "added_p99": _rounded(ratio(ours, peer, lambda one: one.added_p99_ms)),
    }


def own(samples: Mapping[str, list[Sample]]) -> str | None:
    """The name of ours, to which all others are compared: of this checkout, or else of the first other one."""
    names = [name for name in samples if name.partition("@")[0] == "ours"]
    return "ours" if "ours" in names else next(iter(names), None)


def aims(samples: Mapping[str, list[Sample]]) -> dict[str, dict[str, float | bool | None]]:
    """Which aims were reached, of those that this run can tell."""
    name_of_ours = own(samples)
    if name_of_ours is None:
        return {}
    ours = samples[name_of_ours]
    found: dict[str, dict[str, float | bool | None]] = {}
    for name, aim in AIMS.items():
        if samples.get(name):
            by_rps = ratio(ours, samples[name], lambda one: one.rps) or 0.0
            by_cpu = 1 / (ratio(ours, samples[name], lambda one: one.cpu_us) or float("inf"))
            found[f"rps_over_{name.replace('-', '_')}"] = {
                "aim": aim,
                "by_rps": _rounded(by_rps),
                "by_cpu": _rounded(by_cpu),
                "reached": by_rps >= aim,
            }
    added = median(ours, lambda one: one.added_p99_ms)
    if added is not None:
        found["added_p99_ms"] = {"aim": ADDED_P99_MS_MAX, "is": _rounded(added), "reached": added < ADDED_P99_MS_MAX}
    return found


def slope(values: Sequence[tuple[float, float]]) -> float:
    """What y grows by for each x, by least squares; 0.0 with fewer than two points."""
    if len(values) < 2:
        return 0.0
    return statistics.linear_regression([x for x, _ in values], [y for _, y in values]).slope


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
