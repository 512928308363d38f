"""Refuse requests that the pages of this UI did not send, and add the security fields to every response.

The rules are those of the control port (proxy.admin.request_checks). Since a cookie says who a person is, a POST needs three things more:
the field Origin, the session's form token, and a role that may do what it asks for.

    POST /rollback
    Host: 127.0.0.1:9903                       one of ours, else 421
    Origin: http://127.0.0.1:9903              the same, else 403
    Cookie: shadow_ui_9903=...                 a session, else to /login
    form_token=...&reason=...                  that session's, else 403
"""

import hmac
from collections.abc import Awaitable, Callable, Collection
from typing import Final
from urllib.parse import quote

from aiohttp import web

from proxy.admin.request_checks import SAFE_METHODS, is_own_host, is_own_origin, is_same_site
from proxy.ui.sessions import Sessions, UiSession

SECURITY_FIELDS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; "
        "frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    # (with `no-referrer` browsers send `Origin: null` with the forms of our own pages)
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
"""Fields of every response."""
LOGIN: Final = "/login"
STATIC: Final = "/static/"
STATIC_PATH_MAX: Final = 200
"""Longer paths name no static file; the file system would refuse some of them with an error."""
PUBLIC: Final = frozenset({LOGIN, "/healthz"})
FORM_TOKEN: Final = "form_token"  # noqa: S105 (the name of a field)

SESSION: web.RequestKey[UiSession] = web.RequestKey("session", UiSession)
SESSIONS: web.AppKey[Sessions] = web.AppKey("sessions", Sessions)
COOKIE: web.AppKey[str] = web.AppKey("cookie", str)
HOSTS: web.AppKey[Collection[str]] = web.AppKey("hosts")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def add_security_fields(request: web.Request, response: web.StreamResponse) -> None:
    """Add SECURITY_FIELDS: a signal handler of aiohttp. Pages are not kept by browsers; static files are asked for again."""
    for name, value in SECURITY_FIELDS.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault("Cache-Control", "no-cache" if request.path.startswith(STATIC) else "no-store")


@web.middleware
async def check_requests(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse what a page of another origin sent, then find the session."""
    host = request.headers.get("Host", "")
    if not host or not is_own_host(host, request.app[HOSTS]):
        raise web.HTTPMisdirectedRequest(
            text=f"the UI is not known as {host!r}: name an IP address, localhost, or one of ui.hosts"
        )
    _check_url(request)
    is_safe = request.method in SAFE_METHODS
    if not is_safe:
        origin = request.headers.get("Origin", "")
        if not is_own_origin(origin, host) or not is_same_site(request.headers.get("Sec-Fetch-Site")):
            raise web.HTTPForbidden(text="requests of pages of another origin are not allowed")
    if request.path in PUBLIC or request.path.startswith(STATIC):
        return await handler(request)
    sessions, address = request.app[SESSIONS], request.remote or ""
    session = sessions.open(request.cookies.get(request.app[COOKIE], ""), address)
    if session is None:
        if not sessions.open_to_all or not is_safe:
            return _to_login(request)
        # No one has to sign in here. A session is made all the same, because forms need its token.
        cookie = sessions.sign_in("", "", address)
        session = sessions.open(cookie, address)
        assert session is not None, "a session that was just made opens"
        request[SESSION] = session
        response = await handler(request)
        set_cookie(request, response, cookie)
        return response
    request[SESSION] = session
    if not is_safe:
        await _check_form(request, session)
    return await handler(request)


def _check_url(request: web.Request) -> None:
    if "\0" in request.path or "\0" in request.query_string:
        # (PostgreSQL has no text with it, so no id or word of ours holds one)
        raise web.HTTPBadRequest(text="the URL holds a NUL character")
    if request.path.startswith(STATIC) and len(request.path) > STATIC_PATH_MAX:
        raise web.HTTPNotFound


async def _check_form(request: web.Request, session: UiSession) -> None:
    form = await request.post()
    if any("\0" in str(value) for item in form.items() for value in item):
        raise web.HTTPBadRequest(text="the form holds a NUL character")
    if not hmac.compare_digest(str(form.get(FORM_TOKEN, "")).encode(), session.form_token.encode()):
        raise web.HTTPForbidden(text="the form is not of this session: reload the page and send it again")


def set_cookie(request: web.Request, response: web.StreamResponse, cookie: str) -> None:
    """Send a session's cookie: for this site and HTTP only."""
    response.set_cookie(
        request.app[COOKIE],
        cookie,
        max_age=int(request.app[SESSIONS].lifetime_s),
        httponly=True,
        samesite="Strict",
        secure=request.secure,
        path="/",
    )


def _to_login(request: web.Request) -> web.Response:
    if request.method not in SAFE_METHODS or request.path.endswith(".json"):
        raise web.HTTPUnauthorized(text="sign in first")
    return web.Response(status=303, headers={"Location": f"{LOGIN}?next={quote(request.path_qs, safe='')}"})
