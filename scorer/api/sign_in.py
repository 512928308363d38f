"""Nonces, signing in, terms of service, and what the Passport app reports of its other store."""

from aiohttp import web

from scorer.api import responses, validation
from scorer.api.context import CLOCK, DATABASE, REQUEST_ID, SERVICES, SETTINGS, TOKEN_ADDRESS
from scorer.api.wire_services import SAVE_STATES, SIGN_IN, SIGNED_TERMS
from scorer.db import compose_db
from scorer.db.compose_db import SaveStatus
from scorer.errors import StampsTooManyError, UnanswerableError
from scorer.workflows.sign_in import NONCE_LIFETIME

_BIGINT_MAX = 2**63 - 1
_STREAM_ID_MAX = 100


async def nonce(request: web.Request) -> web.Response:
    """GET /account/nonce: good for five minutes."""
    nonces = request.app[SERVICES].nonces
    created = await nonces.create(lifetime=NONCE_LIFETIME, request_id=request[REQUEST_ID])
    return responses.json_response({"nonce": created})


async def authenticate(request: web.Request) -> web.Response:
    """POST /ceramic-cache/authenticate/v2: a signed message for a token."""
    payload = await validation.body(request, SIGN_IN)
    sign_in = request.app[SERVICES].sign_in
    token = await sign_in.token_for(payload["message"], payload["signature"], request_id=request[REQUEST_ID])
    return responses.json_response({"access": token, "intercom_user_hash": None})


async def terms_accepted(request: web.Request) -> web.Response:
    """GET /ceramic-cache/tos/accepted/{kind}/{address}"""
    kind, address = request.match_info["kind"], request.match_info["address"]
    return responses.json_response({"accepted": await request.app[SERVICES].terms.accepted(kind, address)})


async def terms_to_sign(request: web.Request) -> web.Response:
    """GET /ceramic-cache/tos/message-to-sign/{kind}/{address}: the address has no part in it."""
    terms = request.app[SERVICES].terms
    message = await terms.to_sign(request.match_info["kind"], request_id=request[REQUEST_ID])
    return responses.json_response({"text": message.text, "nonce": message.nonce})


async def sign_terms(request: web.Request) -> web.Response:
    """POST /ceramic-cache/tos/signed-message/{kind}/{address}: kind and signer are those of the body; the response is empty."""
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
    """PATCH /ceramic-cache/stamps/bulk/meta/compose-db: the ids of the own stamps that changed."""
    payload = await validation.body(request, SAVE_STATES)
    if len(payload) > request.app[SETTINGS].limits.stamps_max:
        raise StampsTooManyError
    reported = {entry["id"]: _status(entry) for entry in payload if abs(entry["id"]) <= _BIGINT_MAX}
    address, now = request[TOKEN_ADDRESS], request.app[CLOCK]()
    updated = await request.app[DATABASE].transact(
        lambda conn: compose_db.update(conn, list(reported.values()), address=address, now=now),
        request_id=request[REQUEST_ID],
    )
    return responses.json_response({"updated": updated})


def _status(entry: dict[str, str]) -> SaveStatus:
    stream_id = entry.get("compose_db_stream_id") or ""
    if len(stream_id) > _STREAM_ID_MAX:
        raise UnanswerableError("a stream id that the column cannot hold")
    return SaveStatus(int(entry["id"]), str(entry["compose_db_save_status"]), stream_id)
