"""The rollout on the admin port: the same changes as the commands, what peers exchange, and what other tools ask.

Argo Rollouts (web metric) and Flagger (webhooks) get our verdict, so that teams keep their tool; Alertmanager may pause or roll back.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

import msgspec
from aiohttp import web

from comparator.stats.confidence import JudgementOutcome
from proxy.errors import (
    AccessDeniedError,
    GatesClosedError,
    NotStoredError,
    RolloutError,
    RolloutRefusedError,
    StateFileError,
    SupersededError,
    SwitchError,
)
from proxy.rollout.alertmanager import AlertAction, AlertmanagerNotification, requested_action
from proxy.rollout.auth import Authorizer, Credentials, Permission
from proxy.rollout.control import Assessment, ChangeRequest, Control
from proxy.rollout.group_state import ALL
from proxy.rollout.peers import PATH, PeerStates, rollbacks

TEXT_MAX: Final = 500
BODY_MAX_BYTES: Final = 1024**2
LIMIT: Final = re.compile("[0-9]{1,9}")
"""How many entries of the log may be asked for; anything else asks for all."""
STATUS: Final[Mapping[type[Exception], int]] = {
    RolloutRefusedError: 409,
    GatesClosedError: 409,
    SupersededError: 409,
    SwitchError: 409,
    NotStoredError: 503,
    StateFileError: 503,
}
"""What each error is to a client; an AccessError says so itself."""


class ChangeBody(msgspec.Struct, frozen=True):
    """Body of a POST: who changes what, and why. `id` makes one request sent to several proxies one entry of the log."""

    actor: str = ""
    reason: str = ""
    group: str = ""
    force: bool = False
    id: str = ""


Readiness: TypeAlias = "Callable[[], Any]"


@dataclass(frozen=True, slots=True)
class ApiContext:
    """What the handlers need. `overview` is what GET /rollout shows; `readiness` says what rolling back would lose."""

    control: Control
    guard: Authorizer
    overview: Callable[[], dict[str, Any]]
    readiness: Readiness


CONTEXT: web.AppKey[ApiContext] = web.AppKey("rollout", ApiContext)


def mount(app: web.Application, context: ApiContext) -> None:
    """Add the routes to the admin application."""
    app[CONTEXT] = context
    app.middlewares.append(_errors)
    app.add_routes(
        [
            web.post("/rollback", _rollback),
            web.post("/resume", _resume),
            web.post("/promote", _promote),
            web.post("/pause", _pause),
            web.get("/rollout", _overview),
            web.get("/rollout/gates", _gates),
            web.get("/rollout/readiness", _readiness),
            web.get("/rollout/history", _history),
            web.get(PATH, _state),
            web.post(PATH, _take),
            web.post("/alertmanager", _alertmanager),
            web.get("/argo", _argo),
            web.post("/flagger/{hook:confirm|check|rollback}", _flagger),
        ]
    )


@web.middleware
async def _errors(request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
    """Errors with a name become responses that say them."""
    try:
        return await handler(request)
    except AccessDeniedError as error:
        headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else {}
        return web.json_response({"detail": str(error)}, status=error.status, headers=headers)
    except (RolloutError, SwitchError) as error:
        return web.json_response({"detail": str(error)}, status=STATUS[type(error)])


# Changes.


async def _rollback(request: web.Request) -> web.Response:
    asked, _ = await _asked(request, Permission.ROLL_BACK)
    control = request.app[CONTEXT].control
    control.rollback(asked)
    return _changed(control)


async def _resume(request: web.Request) -> web.Response:
    asked, _ = await _asked(request, Permission.OPERATE)
    control = request.app[CONTEXT].control
    await control.resume(asked)
    return _changed(control)


async def _promote(request: web.Request) -> web.Response:
    asked, _ = await _asked(request, Permission.OPERATE)
    control = request.app[CONTEXT].control
    await control.promote(asked)
    return _changed(control)


async def _pause(request: web.Request) -> web.Response:
    asked, _ = await _asked(request, Permission.OPERATE)
    control = request.app[CONTEXT].control
    await control.pause(asked)
    return _changed(control)


def _changed(control: Control) -> web.Response:
    states = [msgspec.to_builtins(state) for state in control.replica.configured.values()]
    switch = msgspec.to_builtins(control.switch.state)
    return web.json_response({**switch, "stored": control.switch.stored, "groups": states})


# Reading.


async def _overview(request: web.Request) -> web.Response:
    await _asked(request, Permission.VIEW)
    return web.json_response(request.app[CONTEXT].overview())


async def _gates(request: web.Request) -> web.Response:
    await _asked(request, Permission.VIEW)
    found = await _assessment(request, request.query.get("group", ALL))
    return web.json_response({"group": found.group, "at": found.at.isoformat(), **found.snapshot()})


async def _readiness(request: web.Request) -> web.Response:
    await _asked(request, Permission.VIEW)
    return web.json_response(await request.app[CONTEXT].readiness())


async def _history(request: web.Request) -> web.Response:
    await _asked(request, Permission.VIEW)
    limit = request.query.get("limit", "")
    replica = request.app[CONTEXT].control.replica
    links = await replica.history(limit=int(limit) or None if LIMIT.fullmatch(limit) else None)
    pending = [msgspec.to_builtins(entry) for entry in replica.pending.values()]
    return web.json_response({"links": [msgspec.to_builtins(link) for link in links], "pending": pending})


async def _state(request: web.Request) -> web.Response:
    """What a peer asks. Where reading is protected, whoever may send a rollback may read whether there is one."""
    context = request.app[CONTEXT]
    await _asked(request, Permission.ROLL_BACK if context.guard.protects_reads else Permission.VIEW)
    states = context.control.replica.states
    return web.Response(body=msgspec.json.encode(PeerStates(tuple(states.values()))), content_type="application/json")


async def _take(request: web.Request) -> web.Response:
    """A peer says that it is rolled back. Nothing else is taken from whoever may only roll back."""
    _, body = await _asked(request, Permission.ROLL_BACK)
    try:
        found = msgspec.json.decode(body, type=PeerStates)
    except msgspec.MsgspecError as error:
        raise web.HTTPBadRequest(reason="not a state") from error
    request.app[CONTEXT].control.replica.apply(rollbacks({state.group: state for state in found.states}))
    return web.json_response({})


# Other tools.


async def _alertmanager(request: web.Request) -> web.Response:
    """Alertmanager's webhook. Firing alerts with our label pause or roll back; everything else changes nothing."""
    context = request.app[CONTEXT]
    _, body = await _asked(request, Permission.ROLL_BACK)
    try:
        notification = msgspec.json.decode(body, type=AlertmanagerNotification)
    except msgspec.MsgspecError as error:
        raise web.HTTPBadRequest(reason="not a notification of Alertmanager, version 4") from error
    action = requested_action(notification, context.control.settings.alerts, context.control.replica.groups)
    if action is None:
        return web.json_response({"done": "nothing"})
    asked = ChangeRequest("alertmanager", action.reason[:TEXT_MAX], group=action.group, finding=action.finding)
    if action.action is AlertAction.ROLLBACK:
        context.control.rollback(asked)
    else:
        await context.control.pause_if_possible(asked)
    return web.json_response({"done": action.action.value})


async def _argo(request: web.Request) -> web.Response:
    """The web metric of Argo Rollouts: successCondition `result.good`, failureCondition `result.bad`, else inconclusive."""
    await _asked(request, Permission.VIEW)
    found = await _assessment(request, request.query.get("group", ALL))
    outcome = _outcome(request, found)
    result = {
        "outcome": outcome.value,
        "good": outcome is JudgementOutcome.GOOD,
        "bad": outcome is JudgementOutcome.BAD,
    }
    return web.json_response({"result": result, **found.snapshot()})


async def _flagger(request: web.Request) -> web.Response:
    """Flagger's webhooks: 200 goes on, 403 holds (confirm), fails the check (check), or keeps from rolling back (rollback).

    `check` is for the type rollout, `confirm` for the types confirm-*, `rollback` for the type rollback.
    """
    _, body = await _asked(request, Permission.VIEW)
    found = await _assessment(request, _flagger_group(body))
    outcome = _outcome(request, found)
    passes = {
        "confirm": outcome is JudgementOutcome.GOOD,
        "check": outcome is not JudgementOutcome.BAD,
        "rollback": outcome is JudgementOutcome.BAD,
    }[request.match_info["hook"]]
    return web.json_response({"outcome": outcome.value, **found.snapshot()}, status=200 if passes else 403)


def _flagger_group(body: bytes) -> str:
    try:
        document: Any = msgspec.json.decode(body or b"{}")
    except (msgspec.DecodeError, RecursionError) as error:
        raise web.HTTPBadRequest(reason="not JSON") from error
    metadata: Any = cast("dict[str, Any]", document).get("metadata") if isinstance(document, dict) else None
    group: Any = cast("dict[str, Any]", metadata).get("group") if isinstance(metadata, dict) else None
    return group if isinstance(group, str) else ALL


def _outcome(request: web.Request, found: Assessment) -> JudgementOutcome:
    """A rollout that is rolled back is bad, whatever the evidence since says."""
    state = request.app[CONTEXT].control.replica.states[found.group]
    return JudgementOutcome.BAD if state.phase.latched else found.outcome


async def _assessment(request: web.Request, group: str) -> Assessment:
    control = request.app[CONTEXT].control
    if group not in control.replica.groups:
        raise RolloutRefusedError(f"there is no group {group!r}: {', '.join(control.replica.groups)}")
    if control.assess is None:
        raise RolloutRefusedError("no evidence can be read: databases.store is not set")
    return await control.assess(group)


async def _asked(request: web.Request, need: Permission) -> tuple[ChangeRequest, bytes]:
    """Who asks for what, once it is sure that he may. A body that cannot be read never keeps anybody from rolling back.

    Raises:
        AccessError: he may not, or a browser page of another origin sent it.
    """
    if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        raise AccessDeniedError(403, "a page of another origin may not")
    try:
        body = await request.read()
    except web.HTTPRequestEntityTooLarge:
        body = b""
    try:
        change = msgspec.json.decode(body or b"{}", type=ChangeBody)
    except msgspec.MsgspecError:
        change = ChangeBody()
    token = request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
    actor = request.app[CONTEXT].guard.authorize(Credentials(token, request.remote or "", change.actor), need)
    return ChangeRequest(
        actor, change.reason[:TEXT_MAX], group=change.group, force=change.force, id=change.id[:TEXT_MAX]
    ), body
