"""The admin port: what the process says about itself, and the on-call switch.

Loopback by default. With a token set, POST needs `Authorization: Bearer`; reading never does.
"""

import hmac
from typing import Any, Protocol

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from proxy.errors import SwitchError
from proxy.rollout.switch import Switch

REGISTRY = web.AppKey("registry", CollectorRegistry)
SWITCH = web.AppKey("switch", Switch)
TOKEN = web.AppKey("token", str)
VIEW: web.AppKey["View"] = web.AppKey("view")

REASON_MAX = 500


class Change(msgspec.Struct, frozen=True):
    """Body of a POST: who changes the switch, and why."""

    actor: str = ""
    reason: str = ""


class View(Protocol):
    """What a proxy process says about itself."""

    @property
    def ready(self) -> bool:
        """Whether new callers are welcome."""
        ...

    def status(self) -> dict[str, Any]:
        """What /status shows beside the switch."""
        ...


def build(*, registry: CollectorRegistry, switch: Switch, token: str, view: View) -> web.Application:
    """The admin application."""
    app = web.Application(client_max_size=64 * 1024)
    app[REGISTRY] = registry
    app[SWITCH] = switch
    app[TOKEN] = token
    app[VIEW] = view
    app.router.add_get("/metrics", _metrics)
    app.router.add_get("/healthz", _healthz)
    app.router.add_get("/readyz", _readyz)
    app.router.add_get("/status", _status)
    app.router.add_post("/rollback", _rollback)
    app.router.add_post("/resume", _resume)
    return app


async def _metrics(request: web.Request) -> web.Response:
    return web.Response(body=generate_latest(request.app[REGISTRY]), headers={"Content-Type": CONTENT_TYPE_LATEST})


async def _healthz(request: web.Request) -> web.Response:
    del request
    return web.json_response({"status": "ok"})


async def _readyz(request: web.Request) -> web.Response:
    ready = request.app[VIEW].ready
    return web.json_response({"ready": ready}, status=200 if ready else 503)


async def _status(request: web.Request) -> web.Response:
    switch = request.app[SWITCH]
    return web.json_response({**request.app[VIEW].status(), "switch": msgspec.to_builtins(switch.state)})


async def _rollback(request: web.Request) -> web.Response:
    actor, reason = await _who_and_why(request)
    switch = request.app[SWITCH]
    state = switch.rollback(actor=actor, reason=reason)
    return web.json_response({**msgspec.to_builtins(state), "stored": switch.stored})


async def _resume(request: web.Request) -> web.Response:
    actor, reason = await _who_and_why(request)
    switch = request.app[SWITCH]
    try:
        state = switch.resume(actor=actor, reason=reason)
    except SwitchError as error:
        return web.json_response({"detail": str(error)}, status=409)
    return web.json_response({**msgspec.to_builtins(state), "stored": switch.stored})


async def _who_and_why(request: web.Request) -> tuple[str, str]:
    """Actor and reason from a JSON body, which may be missing: a rollback must never fail for want of a reason.

    Raises:
        web.HTTPUnauthorized: the token is missing or wrong.
        web.HTTPForbidden: a browser page of another origin sent it.
    """
    expected = request.app[TOKEN]
    given = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if expected and not hmac.compare_digest(given.encode(), expected.encode()):
        raise web.HTTPUnauthorized(headers={"WWW-Authenticate": "Bearer"})
    if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        raise web.HTTPForbidden(reason="Cross-site request")
    try:
        change = msgspec.json.decode(await request.read() or b"{}", type=Change)
    except (msgspec.DecodeError, web.HTTPRequestEntityTooLarge):
        change = Change()
    return (change.actor or request.remote or "unknown")[:REASON_MAX], change.reason[:REASON_MAX]
