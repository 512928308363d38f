"""Reads metrics pages of other processes."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

Labels: TypeAlias = tuple[tuple[str, str], ...]
Samples: TypeAlias = Mapping[str, Mapping[Labels, float]]


@dataclass(frozen=True, slots=True)
class ScrapedPages:
    """What was read, and what could not be, with the reason."""

    read: tuple[Samples, ...]
    unread: tuple[str, ...]


async def scrape_all(urls: Sequence[str], *, timeout_s: float) -> ScrapedPages:
    """All pages at the same time; one that does not answer is named."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout_s)) as session:
        found = await asyncio.gather(*(_scrape(session, url) for url in urls))
    return ScrapedPages(
        tuple(page for page in found if not isinstance(page, str)),
        tuple(page for page in found if isinstance(page, str)),
    )


async def _scrape(session: aiohttp.ClientSession, url: str) -> Samples | str:
    try:
        async with session.get(url) as response:
            response.raise_for_status()
            text = await response.text()
        return await asyncio.to_thread(parse, text)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        return f"{url}: {type(error).__name__}"


def parse(text: str) -> Samples:
    """Samples in Prometheus text format."""
    found: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def total(samples: Samples, name: str, **wanted: str) -> float:
    """The sum over all samples that have these labels."""
    return sum(value for labels, value in samples.get(name, {}).items() if wanted.items() <= dict(labels).items())
