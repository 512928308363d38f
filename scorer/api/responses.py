"""The formats of responses: JSON, the headers of every response, the error bodies and the HTML pages.

Observed of the legacy: Python's default JSON separators with non-ASCII escaped, `application/json; charset=utf-8`, five fixed
headers, `{"detail": ..}` for named errors and plain HTML pages for unknown paths and unhandled errors. The middleware that adds
X-Frame-Options is an inner one: the answers of the outer ones (a preflight, a Host that is not allowed) are without it.
"""

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web
from multidict import CIMultiDict

from scorer import errors

JSON_TYPE = "application/json; charset=utf-8"
HTML_TYPE = "text/html; charset=utf-8"

FIXED_HEADERS: Mapping[str, str] = {
    "X-Frame-Options": "DENY",
    "Vary": "origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}

# On every response to OPTIONS from an origin, whether it is a preflight or not.
PREFLIGHT_HEADERS: Mapping[str, str] = {
    "Access-Control-Allow-Headers": (
        "accept, accept-encoding, authorization, content-type, dnt, origin, user-agent, x-csrftoken, x-requested-with, x-api-key"
    ),
    "Access-Control-Allow-Methods": "DELETE, GET, OPTIONS, PATCH, POST, PUT",
    "Access-Control-Max-Age": "86400",
}

# The one mapping of causes to statuses; a subclass without an entry has its parent's.
STATUS_OF_ERROR: Mapping[type[errors.ScorerError], int] = {
    errors.ApiKeyRefusedError: 401,
    errors.InternalTokenRefusedError: 401,
    errors.BearerTokenRefusedError: 401,
    errors.PermissionRefusedError: 403,
    errors.RateLimitedError: 429,
    errors.AddressInvalidError: 400,
    errors.BadInputError: 400,
    errors.BodyUnreadableError: 400,
    errors.BodyTooLargeError: 413,
    errors.ValidationError: 422,
    errors.StampsTooManyError: 422,
    errors.NotFoundError: 404,
    errors.RequestError: 400,
    errors.ServiceFailedError: 500,
    errors.ScorerUnavailableError: 500,
    errors.UpstreamFailedError: 500,
    errors.SharedStoreUnavailableError: 500,
    errors.UnanswerableError: 500,
    errors.ScoringError: 500,
    errors.ScorerSettingsError: 500,
    errors.MigrationError: 500,
    errors.ScorerError: 500,
}

_PAGE = """
<!doctype html>
<html lang="en">
<head>
  <title>{title}</title>
</head>
<body>
  <h1>{heading}</h1><p>{text}</p>
</body>
</html>
"""


def json_response(body: object, *, status: int = 200) -> web.Response:
    """Build a JSON response; keys keep their order."""
    return _response(json.dumps(body), status, JSON_TYPE)


def text_response(text: str, *, status: int = 200) -> web.Response:
    """Build a response of bare text with the HTML content type, as the legacy's health check and 405 have."""
    return _response(text, status, HTML_TYPE)


def page_400() -> web.Response:
    """Build the legacy's page for a body over the size limit."""
    return _response(_PAGE.format(title="Bad Request (400)", heading="Bad Request (400)", text=""), 400, HTML_TYPE)


def host_refused() -> web.Response:
    """Build the legacy's page for a Host that is malformed or not allowed."""
    return _without_frame_options(page_400())


def page_404() -> web.Response:
    """Build the legacy's page for an unknown path."""
    text = "The requested resource was not found on this server."
    return _response(_PAGE.format(title="Not Found", heading="Not Found", text=text), 404, HTML_TYPE)


def page_500() -> web.Response:
    """Build the legacy's page for an unhandled error."""
    return _response(_PAGE.format(title="Server Error (500)", heading="Server Error (500)", text=""), 500, HTML_TYPE)


def method_not_allowed(allowed: str) -> web.Response:
    """Build the 405 response; `allowed` is the Allow header."""
    response = text_response("Method not allowed", status=405)
    response.headers["Allow"] = allowed
    return response


def preflight() -> web.Response:
    """Build the empty response to a CORS preflight; `add_cors` completes it."""
    return _without_frame_options(_response("", 200, HTML_TYPE))


def add_cors(response: web.StreamResponse, *, method: str, origin: str) -> None:
    """Add the headers that allow a browser's script to read the response; none without an origin."""
    if not origin:
        return
    response.headers["Access-Control-Allow-Origin"] = "*"
    if method == "OPTIONS":
        response.headers.update(PREFLIGHT_HEADERS)


def error_response(error: errors.ScorerError, *, body_too_large_status: int = 413) -> web.Response:
    """Build the response that names the cause, or the plain 500 page where the API defines no text."""
    match error:
        case errors.ValidationError():
            return json_response({"detail": error.items}, status=status_of(error))
        case errors.NotFoundError():
            return json_response({"detail": str(error), **error.extra}, status=status_of(error))
        case errors.BodyTooLargeError() if body_too_large_status == 400:
            return page_400()
        case errors.RequestError() | errors.ServiceFailedError():
            return json_response({"detail": str(error)}, status=status_of(error))
        case _:
            return page_500()


def status_of(error: errors.ScorerError) -> int:
    """Return the status of the error's nearest class in the table."""
    return next(STATUS_OF_ERROR[kind] for kind in type(error).__mro__ if kind in STATUS_OF_ERROR)


def _response(text: str, status: int, content_type: str) -> web.Response:
    headers: CIMultiDict[str] = CIMultiDict(FIXED_HEADERS)
    headers["Content-Type"] = content_type
    return web.Response(body=text.encode(), status=status, headers=headers)


def _without_frame_options(response: web.Response) -> web.Response:
    del response.headers["X-Frame-Options"]
    return response


def details(value: Any) -> dict[str, Any]:
    """Return a body of the form {"detail": ..}."""
    return {"detail": value}
