"""/ceramic-cache: the Passport app's stamps and score of its user. The address is the token's, the community CERAMIC_CACHE_SCORER_ID.

Observed of the legacy: POST stores and returns 201; PATCH deletes the named providers, stores the entries that have a stamp without
their source, and maps every failure to one text; DELETE returns the stamps without the score.
"""

from typing import Any

from aiohttp import web

from scorer.api import bodies, responses, validation, wire
from scorer.api.context import DATABASE, REQUEST_ID, SCORER, SERVICES, SETTINGS, TOKEN_ADDRESS
from scorer.domain.submission import all_different, submitted
from scorer.errors import (
    BadInputError,
    ScorerError,
    ScorerUnavailableError,
    ServiceFailedError,
    StampsTooManyError,
    UnanswerableError,
)
from scorer.workflows import adding, reading
from scorer.workflows.adding import StampChange, StampsAndScore

_NO_SCORE = "Unable to get score for provided scorer."


async def add_stamps(request: web.Request) -> web.Response:
    """Store stamps, replacing those of the same providers, and score."""
    payload = await validation.body(request, wire.CERAMIC_STAMPS)
    _check_count(request, payload)
    add = all_different(submitted(entry["provider"], entry.get("stamp")) for entry in payload)
    held = await _changed(request, StampChange([stamp.provider for stamp in add], add, adding.APP_PASSPORT))
    return responses.json_response(_with_score(request, held), status=201)


async def replace_stamps(request: web.Request) -> web.Response:
    """Delete the stamps of the named providers, store those given, and score."""
    payload = await validation.body(request, wire.CERAMIC_STAMPS)
    try:
        _check_count(request, payload)
        add = all_different(submitted(entry["provider"], entry["stamp"]) for entry in payload if entry.get("stamp"))
        held = await _changed(request, StampChange([entry["provider"] for entry in payload], add, None, any_type=True))
    except ScorerError as error:
        raise ServiceFailedError("An internal server error has occurred.") from error
    return responses.json_response(_with_score(request, held))


async def delete_stamps(request: web.Request) -> web.Response:
    """Delete the stamps of the named providers, and score."""
    payload = await validation.body(request, wire.CERAMIC_DELETES)
    _check_count(request, payload)
    providers = [entry["provider"] for entry in payload]
    if _default_community(request) is None:
        await adding.refuse_removal(request.app[DATABASE], request[TOKEN_ADDRESS], providers)
    held = await _changed(request, StampChange(providers, [], None, any_type=True, needs_removal=True))
    return responses.json_response(bodies.held_stamps(held.stamps))


async def stamps(request: web.Request) -> web.Response:
    """List the stamps of any address, scoring it first if it has no score yet."""
    address = validation.query_text(request, "address").lower()
    held = await reading.held_stamps(
        request.app[SCORER],
        address=address,
        community_id=_default_community(request),
        request_id=request[REQUEST_ID],
    )
    return responses.json_response(bodies.held_stamps(held))


async def score(request: web.Request) -> web.Response:
    """Return the stored score of any address, scoring it first if the score is missing or expired."""
    community_id = validation.query_int(request, "alternate_scorer_id", 0) or _default_community(request)
    if community_id is None:
        raise BadInputError(_NO_SCORE)
    address = request.match_info["address"].lower()
    try:
        shown = await reading.stored_or_scored(
            request.app[SCORER], address=address, community_id=community_id, request_id=request[REQUEST_ID]
        )
        body = bodies.v2_score(address, shown.score, shown.points)
    except (ScorerUnavailableError, UnanswerableError) as error:
        # Observed of the legacy: whatever is wrong with the community's rows or the stored score, the text is this one.
        raise BadInputError(_NO_SCORE) from error
    return responses.json_response(body)


async def rescore(request: web.Request) -> web.Response:
    """Score any address in the community that the body names."""
    payload = await validation.body(request, wire.CERAMIC_SCORE)
    community_id = payload.get("alternate_scorer_id")
    if not community_id:
        raise ServiceFailedError("Scorer ID not set")
    address = request.match_info["address"].lower()
    held = await adding.score_and_list(
        request.app[SCORER], address=address, community_id=community_id, request_id=request[REQUEST_ID]
    )
    return responses.json_response(bodies.v2_score(address, held.score))


async def _changed(request: web.Request, change: StampChange) -> StampsAndScore:
    community_id = _default_community(request)
    if community_id is None:
        raise UnanswerableError("CERAMIC_CACHE_SCORER_ID is not set")
    return await adding.change_and_score(
        request.app[SCORER],
        change,
        address=request[TOKEN_ADDRESS],
        community_id=community_id,
        stamps_max=request.app[SETTINGS].limits.stamps_max,
        request_id=request[REQUEST_ID],
    )


def _check_count(request: web.Request, payload: list[Any]) -> None:
    if len(payload) > request.app[SETTINGS].limits.stamps_max:
        raise StampsTooManyError


def _default_community(request: web.Request) -> int | None:
    given = request.app[SETTINGS].community_default
    return int(given) if given.isascii() and given.isdecimal() else None


def _with_score(request: web.Request, held: StampsAndScore) -> dict[str, Any]:
    return {**bodies.held_stamps(held.stamps), "score": bodies.v2_score(request[TOKEN_ADDRESS], held.score)}


async def own_weights(request: web.Request) -> web.Response:
    """Return the weights of the default community."""
    return responses.json_response(await request.app[SERVICES].weights.read())
