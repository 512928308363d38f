"""The middleware around every request: request id, Host check, CORS, admission, metrics, log line, errors to responses."""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web

from scorer import errors
from scorer.api import responses
from scorer.api.auth import header
from scorer.api.context import METRICS, REQUEST_ID, SETTINGS, TRACING
from scorer.tracing import Span, sampled_trace_id

logger = logging.getLogger("scorer.requests")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
ADMISSION = web.AppKey("admission", asyncio.Semaphore)
_UNROUTED = "unrouted"
# A name or an IPv6 address, and a port of digits (Django's rule).
_HOST = re.compile(r"([a-z0-9.-]+|\[[a-f0-9]*:[a-f0-9.:]+\])(:[0-9]+)?", re.ASCII)


@web.middleware
async def outermost(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Handle one request and turn any failure into a response."""
    started = time.perf_counter()
    request[REQUEST_ID] = header(request, "X-Request-Id")
    with request.app[TRACING].request(request.headers) as span:
        response = _early_response(request) or await _admitted(request, handler)
        if span is not None:
            _describe(span, request, response.status)
    responses.add_cors(response, method=request.method, origin=request.headers.get("Origin", ""))
    _record(request, response.status, time.perf_counter() - started)
    return response


def _describe(span: Span, request: web.Request, status: int) -> None:
    span.set_attribute("http.request.method", request.method)
    span.set_attribute("http.route", route_of(request))
    span.set_attribute("http.response.status_code", status)
    span.set_attribute("request.id", request[REQUEST_ID])


def _early_response(request: web.Request) -> web.Response | None:
    # In this order, as observed of the legacy: a preflight is answered whatever its host and path.
    if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
        return responses.preflight()
    if not host_allowed(request.host, request.app[SETTINGS].allowed_hosts):
        return responses.host_refused()
    # The legacy's router decodes %2F before matching, so no text segment can contain a slash.
    if "%2f" in request.rel_url.raw_path.lower():
        return responses.page_404()
    return None


def host_allowed(host: str, allowed: Sequence[str]) -> bool:
    """Return True if a Host header matches ALLOWED_HOSTS.

    Args:
        host: as sent: "api.example.org", "api.example.org.", "API.example.org:8000", "[::1]:8000".
        allowed: names in any letter case; ".example.org" stands for the domain and its subdomains, "*" for any text at all.
    """
    if "*" in allowed:
        return True
    match = _HOST.fullmatch(host.lower())
    if match is None:
        return False
    name = match[1].removesuffix(".")
    return bool(name) and any(_is_same_domain(name, entry.lower()) for entry in allowed)


def _is_same_domain(name: str, entry: str) -> bool:
    return name == entry or (entry.startswith(".") and (name.endswith(entry) or name == entry[1:]))


async def _admitted(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Bound the requests in progress; the others wait with only their headers in memory. Health checks never wait."""
    metrics = request.app[METRICS]
    if request.path.startswith("/health"):
        return await _answered(request, handler)
    async with request.app[ADMISSION]:
        metrics.requests_in_progress.inc()
        try:
            return await _answered(request, handler)
        finally:
            metrics.requests_in_progress.dec()


async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except errors.ScorerError as error:
        status = request.app[SETTINGS].limits.body_too_large_status
        return responses.error_response(error, body_too_large_status=status)
    except web.HTTPNotFound:
        return responses.page_404()
    except web.HTTPMethodNotAllowed as error:
        return responses.method_not_allowed(", ".join(sorted(error.allowed_methods)))
    except Exception:
        # The outermost frame of a request: the client gets the plain page, the log the traceback.
        logger.exception("request_failed", extra={"request_id": request[REQUEST_ID], "route": route_of(request)})
        return responses.page_500()


def route_of(request: web.Request) -> str:
    """Return the route's template, never the path itself: labels need a closed set."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else _UNROUTED


def _record(request: web.Request, status: int, seconds: float) -> None:
    route, metrics = route_of(request), request.app[METRICS]
    metrics.requests.labels(route, str(status)).inc()
    trace_id = sampled_trace_id(request.headers)
    metrics.request_seconds.labels(route).observe(seconds, exemplar={"trace_id": trace_id} if trace_id else None)
    logger.debug(
        "request_answered",
        extra={"request_id": request[REQUEST_ID], "route": route, "status": status, "seconds": round(seconds, 6)},
    )
