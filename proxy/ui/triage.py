"""Decide on causes: the POSTs of the causes screens, by the same code as `shadow causes ack|fix`, and the export of an example."""

import datetime as dt
import random
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlencode

from aiohttp import web

from comparator.errors import StoreUnavailableError, UnknownCauseError
from comparator.findings.clustering import FindingState
from comparator.store import causes
from comparator.store.store import Store
from proxy.ui.actions import require_operator
from proxy.ui.causes import exported_case
from proxy.ui.pages import UI
from proxy.ui.screens import ScreenNotFoundError
from proxy.ui.sessions import UiSession
from proxy.ui.signing_in import own_path

STATES: Final = {"acknowledge": FindingState.ACKNOWLEDGED, "fix": FindingState.FIXED}
CAUSES_MAX: Final = 500
WORDS_MAX: Final = 500


def mount(app: web.Application) -> None:
    """Add the routes."""
    for action in STATES:
        app.router.add_post(f"/causes/{action}", _decide)
    app.router.add_post("/causes/known", _declare)
    app.router.add_get("/causes/{id}/case", _export)


async def _decide(request: web.Request) -> web.Response:
    session, form = require_operator(request), await request.post()
    action = request.path.rpartition("/")[2]
    ids = _ids(form.getall("id", []))
    back = own_path(str(form.get("next", "")), below="/causes")
    reason = str(form.get("reason", "")).strip()[:WORDS_MAX]
    if not ids:
        raise web.HTTPSeeOther(_with(back, problem="select"))
    if not reason:
        raise web.HTTPSeeOther(_with(back, problem="reason"))
    until = _until(str(form.get("owner", "")), str(form.get("until_more", "")), str(form.get("until", "")))
    try:
        await _set_states(request, session, ids, STATES[action], reason=reason, until=until)
    except UnknownCauseError as error:
        raise web.HTTPNotFound(text=str(error)) from error
    except StoreUnavailableError as error:
        raise web.HTTPServiceUnavailable(text=f"nothing was changed; the store does not answer: {error}") from error
    raise web.HTTPSeeOther(_with(back, done=f"{action}-{len(ids)}"))


async def _set_states(
    request: web.Request,
    session: UiSession,
    ids: Sequence[str],
    state: FindingState,
    *,
    reason: str,
    until: causes.Until,
) -> None:
    settings = request.app[UI].reader.settings
    now = dt.datetime.now(dt.UTC)
    async with (
        Store(settings.databases.store, settings.store, random.SystemRandom()) as store,
        store.connection() as conn,
    ):
        for identity in ids:
            await causes.set_cause_state(conn, identity, state, by=session.name, reason=reason, now=now, until=until)


async def _declare(request: web.Request) -> web.Response:
    """Go to the lines for config.yaml; nothing is changed."""
    form = await request.post()
    ids = _ids(form.getall("id", []))
    if not ids:
        raise web.HTTPSeeOther(_with(own_path(str(form.get("next", "")), below="/causes"), problem="select"))
    words = {name: str(form.get(name, "")).strip()[:WORDS_MAX] for name in ("owner", "reason")}
    query = {"ids": ",".join(ids), **{name: text for name, text in words.items() if text}}
    if form.get("until"):
        query["expires"] = str(form["until"])[:10]
    raise web.HTTPSeeOther(f"/causes/known?{urlencode(query)}")


async def _export(request: web.Request) -> web.Response:
    number = request.query.get("example", "1")
    async with request.app[UI].reader.store.connection() as conn:
        try:
            exchange, body = await exported_case(conn, request.match_info["id"], int(number) if number.isdigit() else 0)
        except (UnknownCauseError, ScreenNotFoundError) as error:
            raise web.HTTPNotFound(text=str(error)) from error
    name = "".join(character for character in exchange if character.isascii() and character.isalnum())[:40]
    fields = {"Content-Disposition": f'attachment; filename="case-{name or "exchange"}.json"'}
    return web.Response(body=body, content_type="application/json", headers=fields)


def _ids(values: Sequence[object]) -> list[str]:
    return list(dict.fromkeys(str(value) for value in values if value))[:CAUSES_MAX]


def _until(owner: str, more: str, day: str) -> causes.Until:
    try:
        last_day = dt.date.fromisoformat(day) if day else None
    except ValueError:
        last_day = None
    exchanges = int(more) if more.isascii() and more.isdigit() and 0 < int(more) < 10**15 else None
    return causes.Until(owner.strip()[:WORDS_MAX], exchanges, last_day)


def _with(url: str, **values: str) -> str:
    """Return a URL with what is to be said on the page."""
    return f"{url}{'&' if '?' in url else '?'}{urlencode(values)}"
