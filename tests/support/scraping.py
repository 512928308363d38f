"""Read the metrics of a process over HTTP, as Prometheus does."""

import asyncio
import socket
from collections.abc import Callable, Mapping

from aiohttp import ClientError, ClientSession
from prometheus_client.parser import text_string_to_metric_families

Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


def free_port() -> int:
    """Return a port that no process listens on at present."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def scrape(port: int) -> Samples:
    """Return all samples of the process with this admin port."""
    async with ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as response:
        text = await response.text()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def total(samples: Samples, name: str, **labels: str) -> float:
    """Return the sum of the samples with this name and these labels; other labels do not matter."""
    required = set(labels.items())
    return sum(value for (sample, carried), value in samples.items() if sample == name and required <= carried)


async def until(port: int, reached: Callable[[Samples], bool], *, timeout_s: float = 180.0) -> Samples:
    """Scrape until `reached` is true of the samples; fail with the last samples after `timeout_s`."""
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
        last = sorted(
            f"{name} {sorted(labels)} {value}"
            for (name, labels), value in samples.items()
            if value and "_bucket" not in name and "_created" not in name
        )
        raise AssertionError("not reached: " + "\n".join(last)) from None
