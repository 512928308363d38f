"""Scrape the metrics of a process of this machine, and wait for them to reach a value."""

import asyncio
from collections.abc import Callable

from aiohttp import ClientError, ClientSession

from proxy.rollout import accounting
from proxy.rollout.accounting import Samples


async def scrape(port: int) -> Samples:
    """Return all samples of the process with this admin port."""
    async with ClientSession() as session:
        return await accounting.scrape(session, f"http://127.0.0.1:{port}/metrics")


async def until(port: int, reached: Callable[[Samples], bool], *, timeout_s: float = 180.0) -> Samples:
    """Scrape until the samples satisfy a condition.

    Raises:
        AssertionError: they did not within `timeout_s`; the message has the last samples.
    """
    samples: Samples = {}
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                try:
                    samples = await scrape(port)
                    if reached(samples):
                        return samples
                except (ClientError, TimeoutError):
                    # (it is not up yet, or busy)
                    pass
                await asyncio.sleep(0.05)
    except TimeoutError:
        lines = sorted(
            f"{name} {labels} {value}"
            for name, series in samples.items()
            if not name.endswith(("_bucket", "_created"))
            for labels, value in series.items()
            if value
        )
        raise AssertionError("not reached: " + "\n".join(lines)) from None
