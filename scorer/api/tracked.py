"""Record the calls of tracked routes for the API key analytics.

Observed of the legacy: a call is recorded once its key and its parameters are accepted, whatever the response; only the score
endpoint's response is kept; keys and cookies are redacted.
"""

import json
from collections.abc import Awaitable, Callable, Iterable

from aiohttp import web

from scorer.api import responses
from scorer.api.context import API_KEY, CLOCK, REQUEST_ID, SERVICES
from scorer.db.analytics import TrackedCall
from scorer.errors import RateLimitedError, ScorerError, ValidationError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_SECRET_HEADERS = frozenset({"X-Api-Key", "Authorization", "Cookie"})
_REDACTED = "***"


def tracked(handler: Handler, *, keeps_response: bool) -> Handler:
    """Wrap a handler so that its calls are recorded; `keeps_response` records the body too."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.app[SERVICES].tracker is None:
            return await handler(request)
        try:
            response = await handler(request)
        except ValidationError:
            raise
        except ScorerError as error:
            status, text = responses.status_of(error), _text(error)
            _record(request, status, error=text, response=None, keeps_response=keeps_response)
            raise
        body = _compact(response) if keeps_response else None
        _record(request, response.status, error=None, response=body, keeps_response=keeps_response)
        return response

    return answer


def _record(
    request: web.Request, status: int, *, error: str | None, response: str | None, keeps_response: bool
) -> None:
    tracker = request.app[SERVICES].tracker
    if tracker is None:
        return
    tracker.record(
        TrackedCall(
            api_key_id=request[API_KEY].id,
            created_at=request.app[CLOCK](),
            path=request.path,
            query_params={name: request.query.getall(name) for name in request.query},
            headers=recorded_headers(request.headers.items()),
            status_code=status,
            error=error,
            response=response,
            response_skipped=not keeps_response,
            request_id=request[REQUEST_ID],
        )
    )


def _text(error: ScorerError) -> str:
    # The legacy stores the text of its exception, and the one for a used-up limit has none.
    return "" if isinstance(error, RateLimitedError) else str(error)


def recorded_headers(received: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Name headers as Django does: an underscore is a hyphen, words are capitalized, repeated headers are joined.

    Values are Latin-1 there, so bytes that are not ASCII become the letters of those numbers.
    """
    headers: dict[str, str] = {}
    for raw_name, raw_value in received:
        name = raw_name.replace("_", "-").title()
        value = raw_value.encode("utf-8", "surrogateescape").decode("latin-1")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return {name: _REDACTED if name in _SECRET_HEADERS else value for name, value in headers.items()}


def _compact(response: web.StreamResponse) -> str | None:
    """Return the body's JSON without spaces and without escapes of non-ASCII letters."""
    body = response.body if isinstance(response, web.Response) else None
    if not isinstance(body, bytes):
        return None
    return json.dumps(json.loads(body), separators=(",", ":"), ensure_ascii=False)
