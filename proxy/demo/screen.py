"""Progress of the demo while requests are sent: a table that is redrawn, or without a terminal one line every 10 s."""

import asyncio
from collections.abc import Mapping

from rich.console import Console
from rich.live import Live
from rich.table import Table

from proxy.config.loader import read_settings
from proxy.demo.installation import Installation
from proxy.demo.traffic import TrafficResult
from proxy.rollout.accounting import TIMEOUT_S, MetricsPages, Reading, read_all

_REFRESH_S = 0.5
_LINE_EVERY = 20


async def show(console: Console, installation: Installation, result: TrafficResult) -> None:
    """Show the progress until cancelled."""
    pages = MetricsPages.of(read_settings(installation.config_path))
    if not console.is_terminal:
        await _show_lines(console, pages)
    with Live(console=console, refresh_per_second=4) as live:
        while True:
            live.update(table(await _read(pages), result))
            await asyncio.sleep(_REFRESH_S)


async def _show_lines(console: Console, pages: MetricsPages) -> None:
    while True:
        await asyncio.sleep(_REFRESH_S * _LINE_EVERY)
        console.print(line(await _read(pages)))


async def _read(pages: MetricsPages) -> Reading:
    try:
        return await read_all(pages, timeout_s=TIMEOUT_S)
    except ConnectionError:
        # A busy process may respond late; the next reading follows soon.
        return Reading()


def line(reading: Reading) -> str:
    """Return the counts as one line."""
    accounting = reading.accounting
    compared = accounting.compared
    return (
        f"served {accounting.served}, compared {sum(compared.values())}, match {compared.get('match', 0)}, "
        f"mismatch {compared.get('mismatch', 0)}, in flight {accounting.in_flight}, lag {reading.lag_s:.1f} s"
    )


def table(reading: Reading, result: TrafficResult) -> Table:
    """Return the counts as a table."""
    accounting = reading.accounting
    grid = Table(title="the candidate serves clients, requests are mirrored to the legacy", title_justify="left")
    grid.add_column("count")
    grid.add_column("now", justify="right")
    grid.add_column("meaning", style="dim")
    grid.add_row("served", str(accounting.served), f"by the proxy; clients count {result.sent}")
    grid.add_row("compared", str(sum(accounting.compared.values())), counts(accounting.compared))
    gaps = f"; {accounting.gaps('match')}" if accounting.gaps("match") else ""
    grid.add_row(
        "[green]match[/]", str(accounting.compared.get("match", 0)), f"same response, same committed rows{gaps}"
    )
    grid.add_row("[red]mismatch[/]", str(accounting.compared.get("mismatch", 0)), "confirmed by a second run")
    grid.add_row("skipped", str(sum(accounting.skipped.values())), counts(accounting.skipped))
    grid.add_row("failed", str(sum(accounting.failed.values())), counts(accounting.failed))
    grid.add_row("dropped", str(sum(accounting.dropped.values())), counts(accounting.dropped))
    grid.add_row("in flight", str(accounting.in_flight), f"lag {reading.lag_s:.1f} s")
    grid.add_row("candidate", _latency(reading.served_ms), "served, median / p99 ms")
    grid.add_row("legacy", _latency(reading.mirrored_ms), "mirrored, median / p99 ms")
    return grid


def counts(by_name: Mapping[str, int]) -> str:
    """Return names with their counts as text, the largest count first."""
    return ", ".join(f"{name} {count}" for name, count in sorted(by_name.items(), key=lambda item: -item[1]))


def _latency(median_and_p99: tuple[float, float]) -> str:
    return " / ".join(f"{value:.1f}" for value in median_and_p99)
