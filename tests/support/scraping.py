"""Reads a process's own metrics over HTTP, as Prometheus does."""

import asyncio
import socket
from collections.abc import Callable, Mapping

from aiohttp import ClientError, ClientSession
from prometheus_client.parser import text_string_to_metric_families

Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def scrape(port: int) -> Samples:
    """All samples of the process that has this admin port."""
    async with ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as answer:
        text = await answer.text()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def total(samples: Samples, name: str, **labels: str) -> float:
    """Sum of the samples of this name that carry these labels."""
    wanted = set(labels.items())
    return sum(value for (found, have), value in samples.items() if found == name and wanted <= have)


async def until(port: int, reached: Callable[[Samples], bool], *, timeout_s: float = 180.0) -> Samples:
    """Scrape until the samples are as wanted; fails with the last ones."""
    samples: Samples = {}
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                try:
                    samples = await scrape(port)
                    if reached(samples):
                        return samples
                except ClientError:
                    pass
                await asyncio.sleep(0.05)
    except TimeoutError:
        shown = sorted(
            f"{n} {sorted(ls)} {v}"
            for (n, ls), v in samples.items()
            if v and "_bucket" not in n and "_created" not in n
        )
        raise AssertionError("not reached: " + "\n".join(shown)) from None
