"""Stamp metadata for responses, and taking its platforms into the database."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from scorer.db import platforms
from scorer.db.pool import Connection, Database
from scorer.domain.stamp_metadata import by_provider, plain_provider, providers
from scorer.errors import ServiceFailedError, UpstreamFailedError
from scorer.upstreams import StampMetadata


async def all_platforms(metadata: StampMetadata) -> list[dict[str, Any]]:
    """Every platform, in the shape of the response.

    Raises:
        ServiceFailedError: the metadata cannot be had.
    """
    try:
        return await metadata.document()
    except UpstreamFailedError as error:
        raise ServiceFailedError("Error fetching external stamp metadata") from error


async def of_providers(metadata: StampMetadata, names: Iterable[str]) -> Mapping[str, dict[str, Any] | None]:
    """What the listing of stamps shows beside each provider; None for one that the metadata does not know.

    Raises:
        ServiceFailedError: the metadata cannot be had; the text names the first provider.
    """
    wanted = list(dict.fromkeys(names))
    if not wanted:
        return {}
    try:
        known = by_provider(await metadata.platforms())
    except UpstreamFailedError as error:
        raise ServiceFailedError(f"Error fetching external stamp metadata for provider {wanted[0]}") from error
    return {name: plain_provider(known[name]) if name in known else None for name in wanted}


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What a synchronisation changed."""

    platforms_created: int
    platforms_renamed: int
    stamps_linked: int


async def sync_platforms(database: Database, metadata: StampMetadata) -> SyncReport:
    """Bring the platform rows up to the public metadata, and point known stamps at their platforms; nothing is deleted.

    Doing it twice changes nothing more. Of platforms or providers listed twice the last counts.

    Raises:
        UpstreamFailedError: the metadata cannot be fetched.
    """
    found = await metadata.fresh_platforms()
    names = {platform.id: platform.name for platform in found}
    links = {entry.stamp.name: entry.platform.id for entry in providers(found)}

    async def work(conn: Connection) -> SyncReport:
        created, renamed = await platforms.upsert(conn, list(names), list(names.values()))
        linked = await platforms.link(conn, list(links), list(links.values()))
        return SyncReport(created, renamed, linked)

    return await database.transact(work)
