"""Print the results: a table, and the same as one line of JSON."""

import json
import statistics
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from bench.proxy.figures import Sample, aims, median, own_name, ratios, round_ratios

COLUMNS = (
    "req/s", "CPU us", "core %", "load %", "p50 ms", "p99 ms", "+p50", "+p99", "RSS MB", "copies lost", "errors",
    "ours: by rps", "by CPU (rounds)",
)  # fmt: skip

WIDTH_MIN = 200
REASON_MAX = 60
"""Characters of the reason why a system was not measured; the line of JSON has all of it."""


def show(
    samples: Mapping[str, list[Sample]], titles: Mapping[str, str], missing: Mapping[str, str], heading: str
) -> None:
    """Print the table.

    Args:
        samples: by system.
        titles: of the rows, in order.
        missing: why a system could not be measured.
        heading: of the table.
    """
    table = Table(title=heading, title_justify="left", title_style="bold")
    table.add_column("one core each", no_wrap=True)
    for column in COLUMNS:
        table.add_column(column, justify="right", no_wrap=True)
    ours = samples.get(own_name(samples) or "", [])
    for name, title in titles.items():
        if name in missing:
            table.add_row(f"{title}: {missing[name]}"[:REASON_MAX], style="yellow")
        else:
            table.add_row(title, *_cells(samples[name], ours))
    console = Console(width=max(WIDTH_MIN, Console().width))
    console.print(table)
    for name, aim in aims(samples).items():
        figures = ", ".join(f"{key} {value}" for key, value in aim.items() if key != "reached")
        console.print(f"{'aim reached' if aim['reached'] else 'AIM MISSED '}  {name}: {figures}", highlight=False)


def _cells(rounds: Sequence[Sample], ours: Sequence[Sample]) -> list[str]:
    def middle(of: str, places: int) -> str:
        value = median(rounds, lambda sample: getattr(sample, of))
        return "-" if value is None else f"{value:,.{places}f}"

    mirrored = rounds[0].copies is not None
    lost = sum(sample.lost or 0 for sample in rounds)
    return [
        middle("rps", 0),
        middle("cpu_us", 0),
        f"{100 * (median(rounds, lambda sample: sample.core) or 0):.0f}",
        f"{100 * (median(rounds, lambda sample: sample.load_core) or 0):.0f}",
        *(middle(of, 2) for of in ("p50_ms", "p99_ms", "added_p50_ms", "added_p99_ms")),
        middle("rss_mb", 0),
        f"{lost}/{sum(sample.copies or 0 for sample in rounds)}" if mirrored else "-",
        str(sum(sample.errors for sample in rounds)),
        _times(round_ratios(ours, rounds, lambda sample: sample.rps) if ours else []),
        _times(round_ratios(rounds, ours, lambda sample: sample.cpu_us) if ours else []),
    ]


def _times(ratios_: Sequence[float]) -> str:
    return f"{statistics.median(ratios_):.2f}x ({min(ratios_):.2f}-{max(ratios_):.2f})" if ratios_ else "-"


def line(samples: Mapping[str, list[Sample]], missing: Mapping[str, str], machine: Mapping[str, object]) -> str:
    """Return the results as one line of JSON. `ours_over` has ours divided by each peer."""
    name_of_ours = own_name(samples)
    ours = samples.get(name_of_ours or "", [])
    others = [name for name in samples if name not in (name_of_ours, "direct")]
    return json.dumps(
        {
            "bench": "proxy",
            "machine": machine,
            "systems": {name: _medians(rounds) for name, rounds in samples.items()},
            "ours_over": {name: ratios(ours, samples[name]) for name in others if ours},
            "aims": aims(samples),
            "missing": missing,
        }
    )


def _medians(rounds: Sequence[Sample]) -> dict[str, float | None]:
    figures = ("rps", "cpu_us", "core", "load_core", "rss_mb", "p50_ms", "p99_ms", "added_p50_ms", "added_p99_ms")
    medians = {of: median(rounds, lambda sample, of=of: getattr(sample, of)) for of in figures}
    counts = {
        of: sum(getattr(sample, of) for sample in rounds) for of in ("copies", "lost") if rounds[0].copies is not None
    }
    rounded = {of: None if value is None else round(value, 3) for of, value in medians.items()}
    return {**rounded, **counts, "errors": sum(sample.errors for sample in rounds)}
