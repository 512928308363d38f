"""Change the rollout: the POSTs of the drawer and of the rollout screen.

Each goes to the admin ports with the person's own token, as the commands do, so a proxy decides who may do what and whom the audit log
names. A rollback goes to all proxies at once; the page then lists every one of them, also those that were not reached.
"""

import asyncio
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from proxy.rollout.admin_client import AdminClient, AdminResponse
from proxy.ui.guard import SESSION
from proxy.ui.pages import UI, show
from proxy.ui.parts import broadcast, name_of
from proxy.ui.sessions import UiSession

NEEDS_REASON: Final = "Write a reason: the audit chain keeps it."
CHANGES: Final = {"promote": "Promoted.", "pause": "Paused.", "resume": "Resumed."}
ID_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class ProxyResult:
    """The result of a rollback at one proxy."""

    name: str
    address: str
    reached: bool
    running: bool
    took_ms: float
    at: str
    error: str


@dataclass(frozen=True, slots=True)
class ChangeResult:
    """The result of a change, as the page shows it.

    Attributes:
        kind: rollback, promote, pause or resume.
        ok: it is in effect at every proxy that runs.
        message: in a sentence.
        proxies: of a rollback, each proxy; the ones that were not reached first.
        id: of the change; sent again with it, it stays one entry of the audit log.
        reason: as it was given.
        group: as it was chosen; "" for all.
    """

    kind: str
    ok: bool
    message: str
    proxies: tuple[ProxyResult, ...] = ()
    id: str = ""
    reason: str = ""
    group: str = ""


def mount(app: web.Application) -> None:
    """Add the routes."""
    app.router.add_post("/rollback", _rollback)
    app.router.add_get("/rollback", _to_drawer)
    for kind in CHANGES:
        app.router.add_post(f"/rollout/{kind}", _change)
        app.router.add_get(f"/rollout/{kind}", _to_rollout)


async def _to_drawer(_request: web.Request) -> web.Response:
    raise web.HTTPSeeOther("/rollout?drawer=rollback")


async def _to_rollout(_request: web.Request) -> web.Response:
    raise web.HTTPSeeOther("/rollout")


def require_operator(request: web.Request) -> UiSession:
    """Return the session of an operator.

    Raises:
        web.HTTPForbidden: it is a viewer's.
    """
    session = request[SESSION]
    if not session.may_operate:
        raise web.HTTPForbidden(text=f"{session.name} is a viewer; this needs an operator")
    return session


async def _rollback(request: web.Request) -> web.Response:
    session, form = require_operator(request), await request.post()
    reason, group = str(form.get("reason", "")).strip(), str(form.get("group", ""))
    identity = str(form.get("id", ""))[:ID_MAX] or str(uuid.uuid4())
    if not reason:
        result = ChangeResult("rollback", ok=False, message=NEEDS_REASON, id=identity, group=group)
        return await _shown(request, result, drawer="rollback", status=422)
    reader = request.app[UI].reader
    body = _body(session, reason, group=group, identity=identity)
    responses = await asyncio.to_thread(broadcast, reader.client(session.token), "POST", "/rollback", body)
    proxies = [_proxy_result(response, name_of(response.endpoint, reader.endpoints)) for response in responses]
    proxies.sort(key=lambda one: one.reached)
    reached = sum(one.reached for one in proxies)
    ok = reached > 0 and all(one.reached or not one.running for one in proxies)
    message = f"{reached} of {len(proxies)} proxies rolled back."
    result = ChangeResult("rollback", ok, message, tuple(proxies), identity, reason, group)
    return await _shown(request, result, drawer="rollback")


def _proxy_result(response: AdminResponse, name: str) -> ProxyResult:
    return ProxyResult(
        name,
        str(response.endpoint),
        reached=response.ok,
        running=not response.down,
        took_ms=round(response.took_s * 1000, 1),
        at=str(response.document.get("at", "")),
        error=response.error or "",
    )


async def _change(request: web.Request) -> web.Response:
    session, form = require_operator(request), await request.post()
    kind = request.path.rpartition("/")[2]
    reason, group = str(form.get("reason", "")).strip(), str(form.get("group", ""))
    if not reason:
        return await _shown(request, ChangeResult(kind, ok=False, message=NEEDS_REASON, group=group), status=422)
    body = _body(session, reason, group=group, identity=str(uuid.uuid4()), force="force" in form)
    step = str(form.get("from_step", ""))
    client = request.app[UI].reader.client(session.token)
    age_s = age_of(str(form.get("shown_at", "")), time.time())
    response = await asyncio.to_thread(
        _request_change, client, kind, body, int(step) if step.isdigit() else None, age_s
    )
    message = CHANGES[kind] if response.ok else f"Refused: {response.error}"
    result = ChangeResult(kind, response.ok, message, reason=reason, group=group)
    return await _shown(request, result, status=200 if response.ok else 409)


def age_of(shown_at: str, now: float) -> float:
    """Return the seconds since the page with the form was made, 0 where the form does not tell; `now` is Unix time."""
    try:
        age_s = now - float(shown_at)
    except ValueError:
        return 0.0
    return age_s if 0.0 <= age_s < float("inf") else 0.0


def _request_change(
    client: AdminClient, kind: str, body: Mapping[str, Any], from_step: int | None, age_s: float
) -> AdminResponse:
    return client.change(f"/{kind}", body, from_step=from_step if kind == "promote" else None, age_s=age_s)


def _body(session: UiSession, reason: str, *, group: str, identity: str, force: bool = False) -> dict[str, Any]:
    """Return the body of the POST. Its id makes the change one entry of the audit log, however many proxies get it."""
    return {"actor": session.name, "reason": reason, "group": group, "force": force, "id": identity}


async def _shown(request: web.Request, result: ChangeResult, *, drawer: str = "", status: int = 200) -> web.Response:
    """Show the rollout screen with the result; it is refreshed by its own URL, not by this one."""
    screen = request.app[UI].screens["/rollout"]
    return await show(request, screen, url="/rollout", drawer=drawer, changed=True, status=status, result=result)
