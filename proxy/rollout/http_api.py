"""The rollout on the admin port: the changes that the commands make, the exchange between peers, and hooks for other tools.

Argo Rollouts (web metric) and Flagger (webhooks) ask for the outcome of our gates, so that a team keeps its own tool; Alertmanager may
pause or roll back.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final, cast

import msgspec
from aiohttp import web

from comparator.stats.confidence import JudgementOutcome
from proxy.errors import (
    ForbiddenError,
    GatesClosedError,
    NotStoredError,
    RequestExpiredError,
    RevisionMissingError,
    RolloutError,
    RolloutRefusedError,
    SentinelFileError,
    StateFileError,
    SupersededError,
    SwitchError,
    SwitchNotStoredError,
    TooManyFailuresError,
    UnauthenticatedError,
)
from proxy.rollout.alertmanager import AlertAction, AlertmanagerNotification, requested_action
from proxy.rollout.assessment import Assessment
from proxy.rollout.auth import Authorizer, Credentials, Grant, Permission, bearer_token
from proxy.rollout.control import ChangeRequest, Control
from proxy.rollout.group_state import ALL
from proxy.rollout.peers import PATH, PeerStates, rollbacks

ROLLBACK: Final = "/rollback"
TEXT_MAX: Final = 500
STORED_WITHIN_S: Final = 0.1
CLOSE_SEEN_AFTER: Final = 3
BODY_S: Final = 5.0
ROLLBACK_BODY_S: Final = 1.0
"""Time for the body of a rollback, which is made without a reason then."""
LIMIT: Final = re.compile("[0-9]{1,9}")
"""A valid `limit` of GET /rollout/history; any other value returns all entries."""
STATUS: Final[Mapping[type[Exception], int]] = {
    UnauthenticatedError: 401,
    ForbiddenError: 403,
    TooManyFailuresError: 429,
    RolloutRefusedError: 409,
    GatesClosedError: 409,
    SupersededError: 412,
    RequestExpiredError: 409,
    RevisionMissingError: 428,
    SentinelFileError: 409,
    SwitchNotStoredError: 409,
    NotStoredError: 503,
    StateFileError: 503,
}
"""The status of the response to each error."""


class ChangeBody(msgspec.Struct, frozen=True):
    """Body of a POST that changes the rollout. One `id` sent to several proxies makes one entry of the audit log.

    The state that the change was decided on is in the field If-Match, as GET /rollout has it in `revision` and in the field ETag;
    instead of it, a promotion may name the step that it leaves.
    """

    actor: str = ""
    reason: str = ""
    group: str = ""
    force: bool = False
    id: str = ""
    from_step: int | None = None
    expires_at: float | None = None
    decided_at: float | None = None


class FlaggerHook(StrEnum):
    """Flagger's webhooks by the question they ask: go on, is the check passed, roll back."""

    CONFIRM = "confirm"
    CHECK = "check"
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True)
class ApiContext:
    """Everything that the handlers use.

    Attributes:
        overview: returns the document of GET /rollout.
        rollback_impact: returns the document of GET /rollout/rollback-impact.
    """

    control: Control
    authorizer: Authorizer
    overview: Callable[[], dict[str, Any]]
    rollback_impact: Callable[[], Awaitable[dict[str, Any]]]


CONTEXT: web.AppKey[ApiContext] = web.AppKey("rollout", ApiContext)


def mount(app: web.Application, context: ApiContext) -> None:
    """Add the rollout's routes to the admin application."""
    app[CONTEXT] = context
    app.middlewares.append(_errors_to_responses)
    app.add_routes(
        [
            web.post(ROLLBACK, _rollback),
            web.post("/resume", _resume),
            web.post("/promote", _promote),
            web.post("/pause", _pause),
            web.get("/rollout", _overview),
            web.get("/rollout/gates", _gates),
            web.get("/rollout/rollback-impact", _rollback_impact),
            web.get("/rollout/history", _history),
            web.get(PATH, _send_states),
            web.post(PATH, _receive_states),
            web.post("/alertmanager", _alertmanager),
            web.get("/argo", _argo),
            web.post(f"/flagger/{{hook:{'|'.join(FlaggerHook)}}}", _flagger),
        ]
    )


@web.middleware
async def _errors_to_responses(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except (RolloutError, SwitchError) as error:
        status = STATUS[type(error)]
        headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
        return web.json_response({"detail": str(error)}, status=status, headers=headers)


# Changes.


async def _rollback(request: web.Request) -> web.Response:
    change, _ = await _authorized_change(request, Permission.ROLL_BACK)
    control = request.app[CONTEXT].control
    control.rollback(change)
    # It is in effect. The response says if it is on disk too, but does not wait for a disk that hangs.
    await control.switch.wait_until_stored(STORED_WITHIN_S)
    return _changed(control)


async def _resume(request: web.Request) -> web.Response:
    change, _ = await _authorized_change(request, Permission.OPERATE)
    _require_revision(change)
    await _check_connected(request)
    control = request.app[CONTEXT].control
    await control.resume(change)
    return _changed(control)


async def _promote(request: web.Request) -> web.Response:
    change, _ = await _authorized_change(request, Permission.OPERATE)
    if change.from_step is None:
        _require_revision(change)
    await _check_connected(request)
    control = request.app[CONTEXT].control
    await control.promote(change)
    return _changed(control)


async def _pause(request: web.Request) -> web.Response:
    change, _ = await _authorized_change(request, Permission.OPERATE)
    control = request.app[CONTEXT].control
    await control.pause(change)
    return _changed(control)


def _changed(control: Control) -> web.Response:
    states = [msgspec.to_builtins(state) for state in control.replica.configured.values()]
    switch = msgspec.to_builtins(control.switch.state)
    revision = control.revision
    document = {**switch, "stored": control.switch.stored, "revision": revision, "groups": states}
    return web.json_response(document, headers={"ETag": f'"{revision}"'})


def _require_revision(change: ChangeRequest) -> None:
    """Refuse a change that could undo another one unseen.

    Raises:
        RevisionMissingError: it does not name the state that it was decided on.
    """
    if not change.decided_on:
        raise RevisionMissingError(
            "name the state that this was decided on: the field If-Match with the `revision` of GET /rollout (for a promotion also the "
            "member `from_step`)"
        )


async def _check_connected(request: web.Request) -> None:
    """Check that the sender still waits: a process that was stopped finds requests of senders who have given up long ago.

    Raises:
        RequestExpiredError: the connection is closed.
    """
    for _ in range(CLOSE_SEEN_AFTER):
        # (the end of the connection may be the next event of the loop)
        await asyncio.sleep(0)
    if request.transport is None or request.transport.is_closing():
        raise RequestExpiredError(
            "the request has expired: its sender has closed the connection, so nothing was changed"
        )


# Reading.


async def _overview(request: web.Request) -> web.Response:
    await _authorized_change(request, Permission.VIEW)
    overview = request.app[CONTEXT].overview()
    return web.json_response(overview, headers={"ETag": f'"{overview["revision"]}"'})


async def _gates(request: web.Request) -> web.Response:
    await _authorized_change(request, Permission.VIEW)
    assessment = await _assess(request, request.query.get("group", ALL))
    return web.json_response({"group": assessment.group, "at": assessment.at.isoformat(), **assessment.snapshot()})


async def _rollback_impact(request: web.Request) -> web.Response:
    await _authorized_change(request, Permission.VIEW)
    return web.json_response(await request.app[CONTEXT].rollback_impact())


async def _history(request: web.Request) -> web.Response:
    await _authorized_change(request, Permission.VIEW)
    limit = request.query.get("limit", "")
    replica = request.app[CONTEXT].control.replica
    links = await replica.history(limit=int(limit) or None if LIMIT.fullmatch(limit) else None)
    pending = [msgspec.to_builtins(entry) for entry in replica.pending.values()]
    document = {
        "links": [msgspec.to_builtins(link) for link in links],
        "pending": pending,
        "in_force": request.app[CONTEXT].control.in_force,
    }
    return web.json_response(document)


# Peers.


async def _send_states(request: web.Request) -> web.Response:
    """Return this process's states to a peer.

    Where reading is protected, the permission to roll back suffices to see whether there is a rollback: a peer may hold nothing but
    the break-glass token.
    """
    context = request.app[CONTEXT]
    await _authorized_change(request, Permission.ROLL_BACK if context.authorizer.protects_reads else Permission.VIEW)
    states = context.control.replica.states
    return web.Response(body=msgspec.json.encode(PeerStates(tuple(states.values()))), content_type="application/json")


async def _receive_states(request: web.Request) -> web.Response:
    """Take a peer's rollbacks. Its other states are ignored: the permission is only to roll back."""
    _, body = await _authorized_change(request, Permission.ROLL_BACK)
    try:
        received = msgspec.json.decode(body, type=PeerStates)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise web.HTTPBadRequest(reason="the body is not a document of rollout states") from error
    request.app[CONTEXT].control.replica.apply(rollbacks({state.group: state for state in received.states}))
    return web.json_response({})


# Other tools.


async def _alertmanager(request: web.Request) -> web.Response:
    """Handle Alertmanager's webhook: firing alerts with our label pause or roll back, all others change nothing."""
    context = request.app[CONTEXT]
    _, body = await _authorized_change(request, Permission.ROLL_BACK)
    try:
        notification = msgspec.json.decode(body, type=AlertmanagerNotification)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise web.HTTPBadRequest(reason="the body is not a notification of Alertmanager, version 4") from error
    control = context.control
    requested = requested_action(notification, control.settings.alertmanager, control.replica.groups)
    if requested is None:
        return web.json_response({"done": "nothing"})
    change = ChangeRequest(
        "alertmanager",
        clean(requested.reason),
        group=requested.group,
        finding=requested.finding,
        # (the same alerts, repeated, are one rollback; after a resume they are another)
        id=f"alertmanager {requested.id} {control.replica.states[ALL].epoch}",
    )
    if requested.action is AlertAction.ROLLBACK:
        control.rollback(change)
    else:
        # (a token that allows a rollback only got here)
        _grant(request, Permission.OPERATE)
        await control.pause_if_possible(replace(change, id=""))
    return web.json_response({"done": requested.action.value})


async def _argo(request: web.Request) -> web.Response:
    """Return the web metric of Argo Rollouts.

    Its successCondition is `result.good`, its failureCondition `result.bad`; with neither the measurement is inconclusive.
    """
    await _authorized_change(request, Permission.VIEW)
    assessment = await _assess(request, request.query.get("group", ALL))
    outcome = _outcome(request, assessment)
    result = {
        "outcome": outcome.value,
        "good": outcome is JudgementOutcome.GOOD,
        "bad": outcome is JudgementOutcome.BAD,
    }
    return web.json_response({"result": result, **assessment.snapshot()})


async def _flagger(request: web.Request) -> web.Response:
    """Answer Flagger's webhooks: 200 for yes, 403 for no.

    `confirm` is for the types confirm-* (403 waits), `check` for the type rollout (403 fails the check), and `rollback` for the type
    rollback (403 does not roll back).
    """
    _, body = await _authorized_change(request, Permission.VIEW)
    assessment = await _assess(request, _flagger_group(body))
    outcome = _outcome(request, assessment)
    yes = {
        FlaggerHook.CONFIRM: outcome is JudgementOutcome.GOOD,
        FlaggerHook.CHECK: outcome is not JudgementOutcome.BAD,
        FlaggerHook.ROLLBACK: outcome is JudgementOutcome.BAD,
    }[FlaggerHook(request.match_info["hook"])]
    return web.json_response({"outcome": outcome.value, **assessment.snapshot()}, status=200 if yes else 403)


def _flagger_group(body: bytes) -> str:
    try:
        document: Any = msgspec.json.decode(body or b"{}")
    except (msgspec.DecodeError, RecursionError) as error:
        raise web.HTTPBadRequest(reason="the body is not JSON") from error
    metadata: Any = cast("dict[str, Any]", document).get("metadata") if isinstance(document, dict) else None
    group: Any = cast("dict[str, Any]", metadata).get("group") if isinstance(metadata, dict) else None
    return group if isinstance(group, str) else ALL


def _outcome(request: web.Request, assessment: Assessment) -> JudgementOutcome:
    """Return bad for a group that is rolled back, however the evidence has developed since; else the outcome of its gates."""
    state = request.app[CONTEXT].control.replica.states[assessment.group]
    return JudgementOutcome.BAD if state.phase.latched else assessment.outcome


async def _assess(request: web.Request, group: str) -> Assessment:
    control = request.app[CONTEXT].control
    if group not in control.replica.groups:
        raise RolloutRefusedError(f"there is no group {group!r}: {', '.join(control.replica.groups)}")
    if control.assess is None:
        raise RolloutRefusedError("no evidence can be read: databases.store is not set")
    return await control.assess(group)


async def _authorized_change(request: web.Request, permission: Permission) -> tuple[ChangeRequest, bytes]:
    """Authorize the request by its head, then read its body; return the change that it asks for, with the body.

    A body of a rollback that cannot be read is a change without a reason, never a reason to refuse: it must not keep anyone from rolling
    back.

    Raises:
        AccessDeniedError: the sender may not do this.
    """
    grant = _grant(request, permission)
    body = await _body_of(request)
    try:
        change = msgspec.json.decode(body or b"{}", type=ChangeBody)
    except (msgspec.MsgspecError, RecursionError):
        change = ChangeBody()
    change_request = ChangeRequest(
        clean(grant.actor(change.actor)),
        clean(change.reason),
        group=change.group,
        force=change.force,
        id=clean(change.id),
        decided_on=request.headers.get("If-Match", "").strip().removeprefix("W/").strip('"'),
        from_step=change.from_step,
        expires_at=change.expires_at,
        decided_at=change.decided_at,
    )
    return change_request, body


def _grant(request: web.Request, permission: Permission) -> Grant:
    token = bearer_token(request.headers.get("Authorization", ""))
    return request.app[CONTEXT].authorizer.grant(Credentials(token, request.remote or ""), permission)


async def _body_of(request: web.Request) -> bytes:
    is_rollback = request.path == ROLLBACK
    try:
        async with asyncio.timeout(ROLLBACK_BODY_S if is_rollback else BODY_S):
            return await request.read()
    except (web.HTTPRequestEntityTooLarge, web.RequestPayloadError):
        if is_rollback:
            return b""
        raise
    except TimeoutError as error:
        if is_rollback:
            return b""
        raise web.HTTPRequestTimeout(text="the body was not received in time") from error


def clean(text: str) -> str:
    """Shorten a text of a sender to TEXT_MAX, and make it one that can be stored: JSON may contain half of a surrogate pair."""
    return text[:TEXT_MAX].encode(errors="replace").decode()
