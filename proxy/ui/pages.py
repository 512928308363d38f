"""Show a screen: read its document, or take the latest one, and put it into the frame.

A page is sent within FIRST_WAIT_S, with the values that are there: the frame and the rollback never wait for a slow part. The script then
refreshes it, and a refresh waits for its values.
"""

import datetime as dt
import getpass
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp_jinja2
import msgspec
from aiohttp import web

from comparator.errors import UnknownCauseError, UnknownFindingError
from proxy.rollout.rollback_impact import RollbackImpact
from proxy.ui import charts
from proxy.ui.frame import frame_of
from proxy.ui.guard import FORM_TOKEN, SESSION, SESSIONS
from proxy.ui.latest import Latest, LatestByKey, LatestValue
from proxy.ui.parts import InstallationReader, Parts
from proxy.ui.screens import MENU, SPAN_TEXTS, Screen, ScreenNotFoundError, ScreenRequest, span_of

FIRST_WAIT_S: Final = 0.4
REFRESH_WAIT_S: Final = 20.0
REFRESH_FIELD: Final = "HX-Request"
"""Field of the requests that the script sends."""
DRAWER: Final = "drawer"
NOT_FOUND: Final = (ScreenNotFoundError, UnknownCauseError, UnknownFindingError)
"""Raised where a URL names something that does not exist."""
NOTHING_READ: Final[LatestValue[object]] = LatestValue()


@dataclass(slots=True)
class Ui:
    """Everything that the handlers use.

    Attributes:
        reader: reads the parts.
        parts: the latest parts.
        impact: the latest impact of a rollback.
        readings: the latest document of each URL.
        screens: all screens, by path.
    """

    reader: InstallationReader
    parts: Latest[Parts]
    impact: Latest[RollbackImpact]
    readings: LatestByKey[object]
    screens: Mapping[str, Screen]

    def has_screen(self, path: str) -> bool:
        """Return whether a screen's path begins like this, so that a link can lead there."""
        return any(one.startswith(path) for one in self.screens)

    def close(self) -> None:
        """End all readings."""
        for held in (self.parts, self.impact, self.readings):
            held.close()


UI: web.AppKey[Ui] = web.AppKey("ui", Ui)


async def show(
    request: web.Request,
    screen: Screen,
    *,
    url: str = "",
    drawer: str = "",
    changed: bool = False,
    status: int = 200,
    **values: object,
) -> web.Response:
    """Respond with the page of a screen.

    Args:
        request: the request.
        screen: the screen.
        url: path and query that the page is refreshed by, where that is not the request's own.
        drawer: the drawer to open; by default the one that the query names.
        changed: read everything again, because something was changed.
        status: of the response.
        values: further values of the template.
    """
    ui, now = request.app[UI], dt.datetime.now(dt.UTC)
    wait_s = REFRESH_WAIT_S if changed or REFRESH_FIELD in request.headers else FIRST_WAIT_S
    ui.reader.read_with(request[SESSION].token)
    parts = await ui.parts.look(wait_s, fresh=changed)
    impact = await ui.impact.look(0.0 if parts.value is None else FIRST_WAIT_S / 2)
    query = dict(request.query) if not url else {}
    reading = await _read(request, screen, query, wait_s, fresh=changed) if parts.value else NOTHING_READ
    is_missing = isinstance(reading.failure, NOT_FOUND)
    session, settings = request[SESSION], ui.reader.settings
    frame = frame_of(parts.value, impact.value, now) if parts.value else None
    context: dict[str, Any] = {
        "screen": screen,
        "section": screen.section or screen.path,
        "menu": [entry for entry in MENU if entry.path in ui.screens],
        "page": None if is_missing else reading.value,
        "is_missing": is_missing,
        "reading": reading,
        "parts": parts.value,
        "frame": frame,
        "impact": impact.value,
        "session": session,
        "signs_in": not request.app[SESSIONS].open_to_all,
        "form_token_field": FORM_TOKEN,
        "settings": settings,
        "now": now,
        "url": url or request.path_qs,
        "query": query,
        "span": span_of(query),
        "spans": SPAN_TEXTS,
        "drawer": drawer or query.get(DRAWER, ""),
        "link": Links(url or request.path, query),
        "result": None,
        "charts": charts,
        "has_screen": ui.has_screen,
        **values,
    }
    return aiohttp_jinja2.render_template(screen.template, request, context, status=404 if is_missing else status)


class Links:
    """Makes links that keep the rest of the URL, for templates: `link(drawer="rollback")`, `link(page=None)`."""

    def __init__(self, path: str, query: Mapping[str, str]) -> None:
        self._path, self._query = path, query

    def __call__(self, **changes: str | None) -> str:
        """Return the present URL with these members of the query; None removes one."""
        query = {name: value for name, value in {**self._query, **changes}.items() if value is not None}
        return f"{self._path}?{urlencode(query)}" if query else self._path

    def to(self, path: str) -> str:
        """Return the URL of another screen, with the time range of this one."""
        span = self._query.get("span")
        return f"{path}?{urlencode({'span': span})}" if span else path


async def show_json(request: web.Request, screen: Screen) -> web.Response:
    """Respond with the document of a screen as JSON; 503 with the reason while there is none.

    Raises:
        web.HTTPNotFound: the URL names something that does not exist.
    """
    ui = request.app[UI]
    ui.reader.read_with(request[SESSION].token)
    parts = await ui.parts.look(REFRESH_WAIT_S)
    query = dict(request.query)
    reading = await _read(request, screen, query, REFRESH_WAIT_S) if parts.value else NOTHING_READ
    if isinstance(reading.failure, NOT_FOUND):
        raise web.HTTPNotFound(text=reading.error)
    document = {"screen": screen.title, "at": reading.at, "error": reading.error, "page": reading.value}
    body = msgspec.json.format(msgspec.json.encode(document), indent=2)
    return web.Response(body=body, content_type="application/json", status=503 if reading.value is None else 200)


async def _read(
    request: web.Request,
    screen: Screen,
    query: Mapping[str, str],
    wait_s: float,
    *,
    fresh: bool = False,
) -> LatestValue[object]:
    """Return the latest document of a URL; its failure is one of NOT_FOUND where the URL names something that does not exist."""
    ui = request.app[UI]
    path = dict(request.match_info)
    state = {name: value for name, value in query.items() if name != DRAWER}
    key = screen.path + "?" + urlencode(sorted({**path, **state}.items()))

    async def read() -> object:
        held = await ui.parts.look(0.0)
        assert held.value is not None, "the parts were read before"
        return await screen.read(ScreenRequest(ui.reader, held.value, state, path, dt.datetime.now(dt.UTC)))

    held = ui.readings.of(key, read, fresh_s=screen.fresh_s(state))
    return await held.look(wait_s, fresh=fresh)


def default_name() -> str:
    """Return the name of the user that this process runs as."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
