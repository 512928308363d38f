"""Stamp metadata for responses, and the synchronization of its platforms into the database."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from scorer.db import platforms
from scorer.db.pool import Connection, Database
from scorer.domain.stamp_metadata import by_provider, plain_provider, providers
from scorer.errors import ServiceFailedError, UpstreamFailedError
from scorer.upstreams import StampMetadata


async def all_platforms(metadata: StampMetadata) -> list[dict[str, Any]]:
    """Return every platform, in the response's shape.

    Raises:
        ServiceFailedError: the metadata is unavailable.
    """
    try:
        return await metadata.document()
    except UpstreamFailedError as error:
        raise ServiceFailedError("Error fetching external stamp metadata") from error


async def of_providers(metadata: StampMetadata, names: Iterable[str]) -> Mapping[str, dict[str, Any] | None]:
    """Return the metadata of each provider for the listing of stamps; None for an unknown provider.

    Raises:
        ServiceFailedError: the metadata is unavailable; the text names the first provider.
    """
    distinct = list(dict.fromkeys(names))
    if not distinct:
        return {}
    try:
        known = by_provider(await metadata.platforms())
    except UpstreamFailedError as error:
        raise ServiceFailedError(f"Error fetching external stamp metadata for provider {distinct[0]}") from error
    return {name: plain_provider(known[name]) if name in known else None for name in distinct}


@dataclass(frozen=True, slots=True)
class SyncReport:
    """The changes made by a synchronization."""

    platforms_created: int
    platforms_renamed: int
    stamps_linked: int


async def sync_platforms(database: Database, metadata: StampMetadata) -> SyncReport:
    """Update the platform rows from the public metadata and link known stamps to their platforms; nothing is deleted.

    Idempotent. Of platforms or providers listed twice, the last one counts.

    Raises:
        UpstreamFailedError: the metadata cannot be fetched.
    """
    fetched = await metadata.fresh_platforms()
    names = {platform.id: platform.name for platform in fetched}
    links = {entry.stamp.name: entry.platform.id for entry in providers(fetched)}

    async def work(conn: Connection) -> SyncReport:
        created, renamed = await platforms.upsert(conn, list(names), list(names.values()))
        linked = await platforms.link(conn, list(links), list(links.values()))
        return SyncReport(created, renamed, linked)

    return await database.transact(work)
