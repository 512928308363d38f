"""POST /internal/check-bans and /internal/check-revocations."""

from datetime import datetime
from typing import Any

from aiohttp import web

from scorer.api import responses, validation
from scorer.api.context import CLOCK, DATABASE, SETTINGS
from scorer.api.wire import BAN_CHECKS, REVOCATION_CHECKS
from scorer.db import bans as ban_rows
from scorer.domain.bans import BanFinding, BannedSubject
from scorer.errors import ServiceFailedError, StampsTooManyError, UnanswerableError
from scorer.workflows import screening


async def check_bans(request: web.Request) -> web.Response:
    """Report for each credential whether it is banned, and the ban."""
    payload = await validation.body(request, BAN_CHECKS)
    subjects = [BannedSubject(**entry["credentialSubject"]) for entry in payload]
    findings = await screening.check_bans(request.app[DATABASE], subjects, now=request.app[CLOCK]())
    return responses.json_response([_finding(finding) for finding in findings])


async def check_revocations(request: web.Request) -> web.Response:
    """Report for each proof value whether it is revoked, in the order of the request."""
    values: list[str] = (await validation.body(request, REVOCATION_CHECKS))["proof_values"]
    if len(values) > request.app[SETTINGS].limits.stamps_max:
        raise StampsTooManyError
    try:
        revoked = await request.app[DATABASE].read(lambda conn: ban_rows.revoked(conn, values))
    except UnanswerableError as error:
        raise ServiceFailedError("Failed to check revocations") from error
    return responses.json_response([{"proof_value": value, "is_revoked": value in revoked} for value in values])


def _finding(finding: BanFinding) -> dict[str, Any]:
    ban = finding.ban
    return {
        "hash": finding.hash,
        "is_banned": ban is not None,
        "end_time": _encoded(ban.end_time) if ban and ban.end_time else None,
        "ban_type": ban.kind if ban else None,
        "reason": ban.reason if ban else None,
    }


def _encoded(moment: datetime) -> str:
    # Milliseconds and Z, as Django's JSON encoder writes times; other endpoints use isoformat.
    timespec = "milliseconds" if moment.microsecond else "seconds"
    return moment.isoformat(timespec=timespec).replace("+00:00", "Z")
