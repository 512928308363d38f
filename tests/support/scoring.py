"""A database for scoring tests: one account with an API key and a community, really signed credentials, and stored stamps."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import asyncpg

from scorer.domain.api_key import fast_hash
from scorer.population.issuer import Issuer
from scorer.settings import HumanPoints, ScorerSettings

ISSUER = Issuer("scoring tests")
KEY = "testKey1.secret-of-the-tests"
INTERNAL_TOKEN = "internal-token-of-the-tests"
FAR = "2099-12-31T23:59:59Z"
THEN = datetime(2024, 1, 1, tzinfo=UTC)
WEIGHTS = {"Google": "1.0", "Twitter": "1.5", "Github": "2.0"}


def address(number: int) -> str:
    return f"0x{number:040x}"


def headers(**more: str) -> dict[str, str]:
    return {"X-API-Key": KEY, **more}


def settings(dsn: str, **changes: Any) -> ScorerSettings:
    known = ScorerSettings(database_url=dsn, trusted_issuers=frozenset({ISSUER.did}), internal_token=INTERNAL_TOKEN)
    return replace(known, **changes)


POINTS_ON = HumanPoints(write=True, show=True)


@dataclass
class World:
    """The rows of a migrated database; `conn` is a connection of the test."""

    conn: asyncpg.Connection
    credentials: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    async def populate(self, *, weights: object = WEIGHTS, threshold: str = "2.5", program: bool = False) -> None:
        await self.conn.execute(
            """INSERT INTO auth_user (id, password, is_superuser, username, first_name, last_name, email, is_staff, is_active,
                                      date_joined) VALUES (1, '', false, 'u', '', '', '', false, true, $1)""",
            THEN,
        )
        await self.conn.execute("INSERT INTO account_account (id, address, user_id) VALUES (1, '0x', 1)")
        await self.key(KEY, hashed_sha256=fast_hash(KEY))
        await self.community(1, weights=weights, threshold=threshold, program=program)

    async def key(
        self, text: str, *, hashed: str = "", hashed_sha256: str | None = None, revoked: bool = False
    ) -> None:
        prefix = text.partition(".")[0]
        await self.conn.execute(
            """INSERT INTO account_accountapikey (id, prefix, hashed_key, created, name, revoked, account_id, rate_limit,
                   create_scorers, read_scores, submit_passports, historical_endpoint, hashed_key_sha256)
               VALUES ($1, $2, $3, $4, 'k', $5, 1, '125/15m', false, true, true, true, $6)""",
            f"{prefix}.{hashed}",
            prefix,
            hashed,
            THEN,
            revoked,
            hashed_sha256,
        )

    async def community(
        self, number: int, *, weights: object = WEIGHTS, threshold: str = "2.5", program: bool = False
    ) -> None:
        await self.conn.execute(
            "INSERT INTO scorer_weighted_scorer (id, type, exclude_from_weight_updates) VALUES ($1, 'WEIGHTED_BINARY', false)",
            number,
        )
        await self.conn.execute(
            "INSERT INTO scorer_weighted_binaryweightedscorer (scorer_ptr_id, weights, threshold) VALUES ($1, $2, $3)",
            number,
            json.dumps(weights),
            Decimal(threshold),
        )
        await self.conn.execute(
            """INSERT INTO account_community (id, name, description, account_id, scorer_id, rule, human_points_program)
               VALUES ($1, $2, '', 1, $1, 'LIFO', $3)""",
            number,
            f"community {number}",
            program,
        )

    async def stamp(
        self, owner: str, provider: str, nullifiers: Sequence[str], *, expires: str = FAR, **changes: Any
    ) -> int:
        """Insert a stamp; `changes` modify the signed credential, which invalidates its proof."""
        credential = {**ISSUER.issue(owner, provider, nullifiers, expires=expires), **changes}
        return await self.stored(owner, provider, credential)

    async def stored(self, owner: str, provider: str, credential: Mapping[str, Any]) -> int:
        return await self.conn.fetchval(
            """INSERT INTO ceramic_cache_ceramiccache (address, provider, stamp, created_at, updated_at, type,
                   compose_db_save_status, compose_db_stream_id, proof_value)
               VALUES ($1, $2, $3, $4, $4, 1, 'pending', '', 'p') RETURNING id""",
            owner,
            provider,
            json.dumps(credential),
            THEN,
        )

    async def owners(self) -> dict[str, str]:
        rows = await self.conn.fetch("SELECT hash, address FROM registry_hashscorerlink")
        return {row["hash"]: row["address"] for row in rows}

    async def count(self, table: str) -> int:
        return await self.conn.fetchval(f"SELECT count(*) FROM {table}")
