"""Shows what was measured: a table for people, and the same as one line of JSON."""

import json
import statistics
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from bench.proxy.figures import Sample, aims, median, own, ratios, round_ratios

COLUMNS = (
    "req/s", "CPU us", "core %", "load %", "p50 ms", "p99 ms", "+p50", "+p99", "RSS MB", "copies lost", "errors",
    "ours: by rps", "by CPU (rounds)",
)  # fmt: skip

WIDTH_MIN = 200
REASON_MAX = 60
"""Characters of why a system was not measured; the line of JSON has the rest."""


def show(
    samples: Mapping[str, list[Sample]], titles: Mapping[str, str], missing: Mapping[str, str], heading: str
) -> None:
    """The table. `missing` says of each system that could not be measured why."""
    table = Table(title=heading, title_justify="left", title_style="bold")
    table.add_column("one core each", no_wrap=True)
    for column in COLUMNS:
        table.add_column(column, justify="right", no_wrap=True)
    mine = samples.get(own(samples) or "", [])
    for name, title in titles.items():
        if name in missing:
            table.add_row(f"{title}: {missing[name]}"[:REASON_MAX], style="yellow")
        else:
            table.add_row(title, *_cells(samples[name], mine))
    console = Console(width=max(WIDTH_MIN, Console().width))
    console.print(table)
    for name, aim in aims(samples).items():
        figures = ", ".join(f"{key} {value}" for key, value in aim.items() if key != "reached")
        console.print(f"{'aim reached' if aim['reached'] else 'AIM MISSED '}  {name}: {figures}", highlight=False)


def _cells(rounds: Sequence[Sample], mine: Sequence[Sample]) -> list[str]:
    def middle(of: str, places: int) -> str:
        value = median(rounds, lambda one: getattr(one, of))
        return "-" if value is None else f"{value:,.{places}f}"

    mirrored = rounds[0].copies is not None
    lost = sum(one.lost or 0 for one in rounds)
    return [
        middle("rps", 0),
        middle("cpu_us", 0),
        f"{100 * (median(rounds, lambda one: one.core) or 0):.0f}",
        f"{100 * (median(rounds, lambda one: one.load_core) or 0):.0f}",
        *(middle(of, 2) for of in ("p50_ms", "p99_ms", "added_p50_ms", "added_p99_ms")),
        middle("rss_mb", 0),
        f"{lost}/{sum(one.copies or 0 for one in rounds)}" if mirrored else "-",
        str(sum(one.errors for one in rounds)),
        _times(round_ratios(mine, rounds, lambda one: one.rps) if mine else []),
        _times(round_ratios(rounds, mine, lambda one: one.cpu_us) if mine else []),
    ]


def _times(found: Sequence[float]) -> str:
    return f"{statistics.median(found):.2f}x ({min(found):.2f}-{max(found):.2f})" if found else "-"


def line(samples: Mapping[str, list[Sample]], missing: Mapping[str, str], machine: Mapping[str, object]) -> str:
    """One line of JSON. `ours_over` has ours divided by each peer."""
    name_of_ours = own(samples)
    mine = samples.get(name_of_ours or "", [])
    others = [name for name in samples if name not in (name_of_ours, "direct")]
    return json.dumps(
        {
            "bench": "proxy",
            "machine": machine,
            "systems": {name: _medians(rounds) for name, rounds in samples.items()},
            "ours_over": {name: ratios(mine, samples[name]) for name in others if mine},
            "aims": aims(samples),
            "missing": missing,
        }
    )


def _medians(rounds: Sequence[Sample]) -> dict[str, float | None]:
    figures = ("rps", "cpu_us", "core", "load_core", "rss_mb", "p50_ms", "p99_ms", "added_p50_ms", "added_p99_ms")
    medians = {of: median(rounds, lambda one, of=of: getattr(one, of)) for of in figures}
    counts = {of: sum(getattr(one, of) for one in rounds) for of in ("copies", "lost") if rounds[0].copies is not None}
    rounded = {of: None if value is None else round(value, 3) for of, value in medians.items()}
    return {**rounded, **counts, "errors": sum(one.errors for one in rounds)}
