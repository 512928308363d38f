"""Nonces, sign-in, terms of service, and the Passport app's reports about its other store (ComposeDB)."""

from typing import Any

from aiohttp import web

from scorer.api import responses, validation
from scorer.api.context import CLOCK, DATABASE, REQUEST_ID, SERVICES, SETTINGS, TOKEN_ADDRESS
from scorer.api.wire import SAVE_STATES, SIGN_IN, SIGNED_TERMS
from scorer.db import compose_db
from scorer.db.compose_db import SaveStatus
from scorer.errors import StampsTooManyError
from scorer.workflows.sign_in import NONCE_LIFETIME

_BIGINT_MAX = 2**63 - 1
_STREAM_ID_MAX = 100


async def nonce(request: web.Request) -> web.Response:
    """Create a nonce, valid for five minutes."""
    nonces = request.app[SERVICES].nonces
    created = await nonces.create(lifetime=NONCE_LIFETIME, request_id=request[REQUEST_ID])
    return responses.json_response({"nonce": created})


async def authenticate(request: web.Request) -> web.Response:
    """Exchange a signed message for a token."""
    payload = await validation.body(request, SIGN_IN)
    sign_in = request.app[SERVICES].sign_in
    token = await sign_in.token_for(payload["message"], payload["signature"], request_id=request[REQUEST_ID])
    return responses.json_response({"access": token, "intercom_user_hash": None})


async def terms_accepted(request: web.Request) -> web.Response:
    """Report whether the address has signed the active terms of this kind."""
    kind, address = request.match_info["kind"], request.match_info["address"]
    return responses.json_response({"accepted": await request.app[SERVICES].terms.accepted(kind, address)})


async def terms_to_sign(request: web.Request) -> web.Response:
    """Return the terms to sign with a new nonce; the address in the path is not used."""
    terms = request.app[SERVICES].terms
    message = await terms.to_sign(request.match_info["kind"], request_id=request[REQUEST_ID])
    return responses.json_response({"text": message.text, "nonce": message.nonce})


async def sign_terms(request: web.Request) -> web.Response:
    """Store a signature of the terms; kind and signer come from the body, and the response is empty."""
    payload = await validation.body(request, SIGNED_TERMS)
    await request.app[SERVICES].terms.accept(
        payload["tos_type"],
        nonce=payload["nonce"],
        signature=payload["signature"],
        request_id=request[REQUEST_ID],
    )
    response = responses.json_response(None)
    response.body = b""
    return response


async def report_saved(request: web.Request) -> web.Response:
    """Store the reported ComposeDB state of the client's own stamps and return the ids that changed."""
    payload = await validation.body(request, SAVE_STATES)
    if len(payload) > request.app[SETTINGS].limits.stamps_max:
        raise StampsTooManyError
    reported: dict[int, SaveStatus] = {}
    for entry in payload:
        # Of several entries with one id the first one counts.
        if abs(entry["id"]) <= _BIGINT_MAX:
            reported.setdefault(entry["id"], _status(entry))
    address, now = request[TOKEN_ADDRESS], request.app[CLOCK]()
    updated = await request.app[DATABASE].transact(
        lambda conn: compose_db.update(conn, list(reported.values()), address=address, now=now),
        request_id=request[REQUEST_ID],
    )
    return responses.json_response({"updated": updated})


def _status(entry: dict[str, Any]) -> SaveStatus:
    # A longer stream id is cut to the width of the column. Observed of the legacy.
    stream_id = (entry.get("compose_db_stream_id") or "")[:_STREAM_ID_MAX]
    return SaveStatus(entry["id"], str(entry["compose_db_save_status"]), stream_id)
