"""Table ceramic_cache_ceramiccache: the stamps of an address: load for scoring, list, insert, soft-delete."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from scorer.db.pool import Connection
from scorer.domain.dedup import HashLink
from scorer.domain.stamp import StoredStamp

TYPE_V1 = 1
_STATUS_PENDING = "pending"
_LINKS = msgspec.json.Decoder(list[tuple[str, str, datetime]])


class _Credential(msgspec.Struct):
    """The fields of a credential that scoring reads; decoding only these is several times faster."""

    issuer: Any = msgspec.UNSET
    expirationDate: Any = msgspec.UNSET  # noqa: N815 (the credential's spelling)
    credentialSubject: Any = msgspec.UNSET  # noqa: N815


_CREDENTIAL = msgspec.json.Decoder(_Credential)


def _examined(text: str) -> Any:
    """Decode the fields of `_Credential` that are present; None for a value that is not an object or that Python cannot represent."""
    try:
        credential = _CREDENTIAL.decode(text)
    except msgspec.MsgspecError:
        return None
    fields = {
        "issuer": credential.issuer,
        "expirationDate": credential.expirationDate,
        "credentialSubject": credential.credentialSubject,
    }
    return {name: value for name, value in fields.items() if value is not msgspec.UNSET}


# The newest row of each provider, of any type, in the order in which the providers were first stored; revoked rows are left out.
# The last row of the result has no id and holds the links of all nullifiers, which saves deduplication a round trip. Example: two rows
# (7, Github, credential, 3) and (9, Google, credential, 9), then (NULL, NULL, [["v0:a", "0x12..", "2030-01-01T00:00:00+00:00"]], NULL).
# Passing the hashes as an array makes the planner use the index for each, however many links the community has.
LOAD = """
WITH cache AS (
    SELECT cache.id, cache.provider, cache.stamp,
           row_number() OVER (PARTITION BY cache.provider ORDER BY cache.updated_at DESC, cache.id) AS place,
           min(cache.id) OVER (PARTITION BY cache.provider) AS first_id
    FROM ceramic_cache_ceramiccache cache
    WHERE cache.address = $1 AND cache.deleted_at IS NULL
      AND NOT EXISTS (SELECT FROM ceramic_cache_revocation revoked WHERE revoked.ceramic_cache_id = cache.id)
), latest AS MATERIALIZED (
    SELECT id, provider, stamp, first_id FROM cache WHERE place = 1
), hashes AS (
    SELECT ARRAY(
        SELECT jsonb_array_elements_text(
            CASE jsonb_typeof(stamp #> '{credentialSubject,nullifiers}')
            WHEN 'array' THEN stamp #> '{credentialSubject,nullifiers}' ELSE '[]' END)
        FROM latest) AS listed
)
SELECT id, provider, stamp, first_id FROM latest
UNION ALL
SELECT NULL, NULL, (
    SELECT jsonb_agg(jsonb_build_array(link.hash, link.address, link.expires_at))
    FROM registry_hashscorerlink link
    WHERE link.community_id = $2 AND link.hash = ANY((SELECT listed FROM hashes)::varchar[])
), NULL
ORDER BY first_id NULLS LAST
"""


async def load(conn: Connection, address: str, community_id: int) -> tuple[list[StoredStamp], list[HashLink]]:
    """Load the stamps that may count for an address, and the links of their nullifiers in a community."""
    rows = await conn.fetch(LOAD, address, community_id)
    stamps = [StoredStamp(stamp_id, provider, _examined(text), text) for stamp_id, provider, text, _ in rows[:-1]]
    links: str | None = rows[-1][2]
    return stamps, [] if links is None else [HashLink(*link) for link in _LINKS.decode(links)]


@dataclass(frozen=True, slots=True)
class LiveStamp:
    """A stamp in the shape of the embed and ceramic-cache endpoints."""

    id: int
    address: str
    provider: str
    stamp: Any


LIVE = """
SELECT cache.id, cache.address, cache.provider, cache.stamp
FROM ceramic_cache_ceramiccache cache
WHERE cache.address = $1 AND ($2::int IS NULL OR cache.type = $2) AND cache.deleted_at IS NULL
  AND NOT EXISTS (SELECT FROM ceramic_cache_revocation revoked WHERE revoked.ceramic_cache_id = cache.id)
ORDER BY cache.id
"""


async def live(conn: Connection, address: str, *, any_type: bool = False) -> list[LiveStamp]:
    """Read the stamps of type 1, or of any type, that are neither deleted nor revoked."""
    rows = await conn.fetch(LIVE, address, None if any_type else TYPE_V1)
    return [LiveStamp(stamp_id, owner, provider, msgspec.json.decode(text)) for stamp_id, owner, provider, text in rows]


@dataclass(frozen=True, slots=True)
class NewStamp:
    """A stamp to insert. `text` is the credential in JSON; the sources are None where the endpoint leaves them out."""

    provider: str
    text: str
    proof_value: str
    issued_at: datetime | None
    expires_at: datetime | None
    source_app: int | None
    source_community: int | None


# A row lock does not cover rows that another transaction is about to insert, hence an advisory lock on the address; the number
# separates it from other advisory locks.
CLAIM = "SELECT pg_advisory_xact_lock(hashtextextended($1, 7203118443))"


async def claim(conn: Connection, address: str) -> None:
    """Lock the stamps of this address until the transaction ends."""
    await conn.execute(CLAIM, address)


SOFT_DELETE = """
UPDATE ceramic_cache_ceramiccache SET deleted_at = $3, updated_at = $3
WHERE address = $1 AND provider = ANY($2::text[]) AND deleted_at IS NULL AND ($4::int IS NULL OR type = $4)
RETURNING id
"""


async def soft_delete(
    conn: Connection, address: str, providers: Sequence[str], *, now: datetime, only_type: int | None = None
) -> int:
    """Mark the live stamps of these providers as deleted; return how many there were."""
    return len(await conn.fetch(SOFT_DELETE, address, providers, now, only_type))


ANY_LIVE = """
SELECT EXISTS (
    SELECT FROM ceramic_cache_ceramiccache WHERE address = $1 AND provider = ANY($2::text[]) AND deleted_at IS NULL
)
"""


async def any_live(conn: Connection, address: str, providers: Sequence[str]) -> bool:
    """Return True if the address has a live stamp of one of these providers, of any type, revoked or not."""
    return bool(await conn.fetchval(ANY_LIVE, address, providers))


INSERT = """
INSERT INTO ceramic_cache_ceramiccache (
    address, provider, stamp, created_at, updated_at, type, deleted_at, compose_db_save_status, compose_db_stream_id,
    expiration_date, issuance_date, proof_value, source_app, source_scorer_id)
SELECT $1::text, new.provider, new.stamp, $2::timestamptz, $2::timestamptz, $3::int, NULL, $4::text, '', new.expires_at, new.issued_at, new.proof_value,
       new.source_app, new.source_community
FROM unnest($5::text[], $6::jsonb[], $7::timestamptz[], $8::timestamptz[], $9::text[], $10::int[], $11::bigint[])
     WITH ORDINALITY AS new (provider, stamp, expires_at, issued_at, proof_value, source_app, source_community, position)
ORDER BY new.position
"""


async def insert(conn: Connection, address: str, stamps: Sequence[NewStamp], *, now: datetime) -> None:
    """Insert new stamps of type 1."""
    await conn.execute(
        INSERT,
        address,
        now,
        TYPE_V1,
        _STATUS_PENDING,
        [stamp.provider for stamp in stamps],
        [stamp.text for stamp in stamps],
        [stamp.expires_at for stamp in stamps],
        [stamp.issued_at for stamp in stamps],
        [stamp.proof_value for stamp in stamps],
        [stamp.source_app for stamp in stamps],
        [stamp.source_community for stamp in stamps],
    )


@dataclass(frozen=True, slots=True)
class ListedStamp:
    """A stamp in the shape of the listing."""

    id: int
    provider: str
    stamp: Any


_LISTED = "SELECT id, provider, stamp FROM ceramic_cache_ceramiccache WHERE address = $1 AND deleted_at IS NULL"
PAGE_FIRST = _LISTED + " ORDER BY id DESC LIMIT $2"
PAGE_BEFORE = _LISTED + " AND id < $3 ORDER BY id DESC LIMIT $2"
PAGE_AFTER = _LISTED + " AND id > $3 ORDER BY id LIMIT $2"
BOUNDS = """
SELECT EXISTS (SELECT FROM ceramic_cache_ceramiccache WHERE address = $1 AND deleted_at IS NULL AND id > $2),
       EXISTS (SELECT FROM ceramic_cache_ceramiccache WHERE address = $1 AND deleted_at IS NULL AND id < $3)
"""


async def page(conn: Connection, address: str, limit: int, *, direction: str, anchor: int) -> list[ListedStamp]:
    """Read one page of the live stamps, newest first: any (direction ""), older ("next") or newer ("prev") than `anchor`."""
    match direction:
        case "next":
            rows = await conn.fetch(PAGE_BEFORE, address, limit, anchor)
        case "prev":
            rows = list(reversed(await conn.fetch(PAGE_AFTER, address, limit, anchor)))
        case _:
            rows = await conn.fetch(PAGE_FIRST, address, limit)
    return [ListedStamp(stamp_id, provider, msgspec.json.decode(text)) for stamp_id, provider, text in rows]


async def neighbours(conn: Connection, address: str, *, newest: int, oldest: int) -> tuple[bool, bool]:
    """Return two flags: there are stamps newer than a page, and older."""
    row = await conn.fetchrow(BOUNDS, address, newest, oldest)
    assert row is not None
    return row[0], row[1]
