"""Sign in and out: the page, and the two POSTs."""

from urllib.parse import urlsplit

import aiohttp_jinja2
from aiohttp import web

from proxy.errors import AccessDeniedError, TooManyFailuresError
from proxy.ui.guard import COOKIE, LOGIN, SESSIONS, set_cookie


def mount(app: web.Application) -> None:
    """Add the routes."""
    app.router.add_get(LOGIN, _page)
    app.router.add_post(LOGIN, _sign_in)
    app.router.add_post("/logout", _sign_out)


async def _page(request: web.Request) -> web.Response:
    if request.app[SESSIONS].open_to_all:
        raise web.HTTPSeeOther(own_path(request.query.get("next", "")))
    return _render(request, request.query.get("next", ""), "")


async def _sign_in(request: web.Request) -> web.Response:
    form = await request.post()
    target = own_path(str(form.get("next", "")))
    try:
        cookie = request.app[SESSIONS].sign_in(
            str(form.get("token", "")).strip(), str(form.get("name", "")), request.remote or ""
        )
    except AccessDeniedError as error:
        status = 429 if isinstance(error, TooManyFailuresError) else 401
        return _render(request, target, str(error), status=status)
    response = _redirect(target)
    set_cookie(request, response, cookie)
    return response


async def _sign_out(request: web.Request) -> web.Response:
    response = _redirect(LOGIN)
    response.del_cookie(request.app[COOKIE], path="/")
    return response


def _redirect(target: str) -> web.Response:
    return web.Response(status=303, headers={"Location": target})


def _render(request: web.Request, target: str, error: str, *, status: int = 200) -> web.Response:
    values = {"next": own_path(target), "error": error}
    return aiohttp_jinja2.render_template("login.html", request, values, status=status)


def own_path(target: str, *, below: str = "/") -> str:
    """Return a path of this UI below another one, whatever a link says: `//elsewhere.example` is another host to a browser."""
    try:
        parts = urlsplit(target.replace("\\", "/"))
    except ValueError:
        return below
    is_own = not parts.scheme and not parts.netloc and parts.path.startswith(below) and not parts.path.startswith("//")
    return target if is_own else below
