"""Table account_accountapikeyanalytics."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from scorer.db.pool import Connection


@dataclass(frozen=True, slots=True)
class TrackedCall:
    """One call by an API key. `response` is the body's JSON text, stored as one JSON string; None if it is not kept.

    `request_id` is the client's, or ""; it identifies the transaction and is not a column.
    """

    api_key_id: str
    created_at: datetime
    path: str
    query_params: Mapping[str, Sequence[str]]
    headers: Mapping[str, str]
    status_code: int
    error: str | None
    response: str | None
    response_skipped: bool
    request_id: str = ""


INSERT = """
INSERT INTO account_accountapikeyanalytics
    (api_key_id, created_at, path, path_segments, query_params, headers, payload, response, response_skipped, error, status_code,
     base_path)
VALUES ($1, $2, $3, $4, $5, $6, NULL, $7, $8, $9, $10, NULL)
"""


async def insert(conn: Connection, calls: Sequence[TrackedCall]) -> None:
    """Insert calls, all or none of them."""
    await conn.executemany(INSERT, [_columns(call) for call in calls])


def _columns(call: TrackedCall) -> tuple[object, ...]:
    return (
        call.api_key_id,
        call.created_at,
        call.path,
        json.dumps(call.path.split("/")[1:]),
        json.dumps(call.query_params),
        json.dumps(call.headers),
        None if call.response is None else json.dumps(call.response),
        call.response_skipped,
        call.error,
        call.status_code,
    )
