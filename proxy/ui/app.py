"""The web UI's process: build everything, and serve until SIGTERM or SIGINT.

It is a client of the same code that the commands use, and nothing depends on it: no client's request passes through it, and no rollback
needs it. It starts, and says what is missing, while the store, a proxy or the runner is down.
"""

import asyncio
import os
import ssl
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import aiohttp_jinja2
import jinja2
from aiohttp import web

from comparator.store.reader import StoreReader
from proxy.admin.connections import HEAD_S, AdminConnections
from proxy.config.settings import Settings
from proxy.rollout.auth import Authorizer
from proxy.serving.config_reload import tls_context
from proxy.ui import (
    actions,
    causes,
    configuration,
    exchange,
    journal,
    overview,
    replays,
    rollout,
    rules,
    runbook,
    signing_in,
    triage,
)
from proxy.ui.charts import spark
from proxy.ui.guard import COOKIE, HOSTS, SESSIONS, STATIC, add_security_fields, check_requests
from proxy.ui.latest import FailureLog, Latest, LatestByKey
from proxy.ui.pages import NOT_FOUND, UI, Ui, default_name, show, show_json
from proxy.ui.parts import InstallationReader
from proxy.ui.screens import FRESH_S, Screen, ScreenNotFoundError, ScreenRequest
from proxy.ui.sessions import Sessions, session_key
from proxy.ui.timeline_view import offset
from proxy.ui.words import FILTERS

FOLDER: Final = Path(__file__).parent
IMPACT_FRESH_S: Final = 10.0
FORM_MAX_BYTES: Final = 64 * 1024
SHUTDOWN_S: Final = 2.0

SCREENS: Final = (
    Screen("/", "Overview", "overview.html", overview.read, has_span=True),
    Screen("/rollout", "Rollout", "rollout.html", rollout.read),
    Screen("/rollout/audit", "Audit chain", "audit.html", rollout.read_audit, section="/rollout"),
    Screen("/causes", "Causes", "causes.html", causes.read, has_span=True),
    Screen("/causes/known", "Declare as known", "patch.html", causes.read_known, section="/causes"),
    Screen("/causes/{id}", "Cause", "cause.html", causes.read_one, section="/causes", has_span=True),
    Screen("/causes/{id}/rule", "Rule from a place", "patch.html", causes.read_rule, section="/causes"),
    Screen("/findings/{id}", "Finding", "finding.html", causes.read_finding, section="/causes"),
    Screen("/exchanges/{id}", "Exchange", "exchange.html", exchange.read, section="/causes"),
    Screen("/journal", "Journal", "journal.html", journal.read, has_span=True),
    Screen("/rules", "Rules", "rules.html", rules.read, fresh_s=rules.fresh_s),
    Screen("/replays", "Replays", "replays.html", replays.read_list),
    Screen("/replays/{name}", "Replay", "replay.html", replays.read_one, section="/replays"),
    Screen(
        "/replays/{name}/against/{baseline}",
        "Compare runs",
        "replays_compared.html",
        replays.read_compared,
        section="/replays",
    ),
    Screen("/configuration", "Configuration", "configuration.html", configuration.read),
    Screen("/runbook", "Runbook", "runbook.html", runbook.read),
)
"""All screens."""


async def no_screen(request: ScreenRequest) -> object:
    """Read the document of a URL that is that of no screen.

    Raises:
        ScreenNotFoundError: always.
    """
    raise ScreenNotFoundError(f"no screen has the path /{request.path['path'][:200]}")


MISSING: Final = Screen("/{path:.*}", "Not found", "base.html", no_screen)
"""Shown for every other path, so that the menu and the rollback are there too."""
ALL_FILTERS: Final[dict[str, Any]] = {
    **FILTERS,
    "markdown": runbook.html_of,
    "section_anchor": runbook.name_of_section,
    "offset": offset,
    "spark_bars": spark,
}
"""Filters of the templates."""


def build(ui: Ui, sessions: Sessions) -> web.Application:
    """Build the application."""
    settings = ui.reader.settings.ui
    app = web.Application(middlewares=[check_requests], client_max_size=FORM_MAX_BYTES)
    app[UI], app[SESSIONS] = ui, sessions
    app[COOKIE] = f"shadow_ui_{settings.port}"
    app[HOSTS] = frozenset(host.lower() for host in settings.hosts)
    app.on_response_prepare.append(add_security_fields)
    aiohttp_jinja2.setup(
        app,
        loader=jinja2.FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        filters=ALL_FILTERS,
    )
    app.router.add_get("/healthz", _health)
    app.router.add_static(STATIC, FOLDER / "static")
    signing_in.mount(app)
    actions.mount(app)
    app.router.add_get("/replays/{name}/export", replays.export)
    app.router.add_get(f"/journal/export.{{format:{'|'.join(journal.FORMATS)}}}", journal.export)
    triage.mount(app)
    for screen in ui.screens.values():
        # (the JSON form first, because `/causes/{id}` would match it, too)
        app.router.add_get(f"{'/overview' if screen.path == '/' else screen.path}.json", _handler(show_json, screen))
        app.router.add_get(screen.path, _handler(show, screen))
    app.router.add_get(MISSING.path.replace("}", r"\.json}"), _handler(show_json, MISSING))
    app.router.add_get(MISSING.path, _handler(show, MISSING))
    return app


def _handler(
    respond: Callable[[web.Request, Screen], Awaitable[web.Response]], screen: Screen
) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        return await respond(request, screen)

    return handle


async def _health(_request: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


@asynccontextmanager
async def running(settings: Settings) -> AsyncGenerator[str]:
    """Serve for the duration of the block; yield the URL.

    Raises:
        OSError: the port cannot be listened on.
        SettingsError: the certificate cannot be used.
    """
    tls = settings.ui.tls
    context: ssl.SSLContext | None = tls_context(tls, "ui.tls") if tls else None
    authorizer = Authorizer(settings.rollout.access, settings.admin.token, now=time.monotonic)
    sessions = Sessions(
        authorizer,
        key=session_key(settings),
        lifetime_s=settings.ui.session_s,
        default_name=default_name(),
        now=time.time,
    )
    store = StoreReader(settings.ui.store or settings.databases.store, timeout_s=settings.ui.store_timeout_s)
    async with store, aiohttp.ClientSession() as session, asyncio.TaskGroup() as tasks:
        reader = InstallationReader(settings, store, session, os.environ)
        failures = FailureLog(*NOT_FOUND)
        ui = Ui(
            reader,
            Latest(reader.parts, fresh_s=FRESH_S, tasks=tasks, failures=failures),
            Latest(reader.impact, fresh_s=IMPACT_FRESH_S, tasks=tasks, failures=failures),
            LatestByKey(tasks=tasks, failures=failures),
            {screen.path: screen for screen in SCREENS},
        )
        runner = web.AppRunner(build(ui, sessions), access_log=None, shutdown_timeout=SHUTDOWN_S)
        await runner.setup()
        connections = AdminConnections(recognizes=authorizer.recognizes, hosts=(), checks=False)
        connections.serve_with(runner.server)
        server: asyncio.Server | None = None
        try:
            server = await asyncio.get_running_loop().create_server(
                connections.connection,
                settings.ui.host,
                settings.ui.port,
                ssl=context,
                ssl_handshake_timeout=HEAD_S if context else None,
            )
            host, port = server.sockets[0].getsockname()[:2]
            yield f"http{'s' if context else ''}://{host}:{port}"
        finally:
            if server is not None:
                server.close()
            await runner.cleanup()
            ui.close()


async def serve(settings: Settings, stop: asyncio.Event, on_ready: Callable[[str], None]) -> None:
    """Serve until `stop` is set; `on_ready` gets the URL.

    Raises:
        OSError: the port cannot be listened on.
    """
    async with running(settings) as url:
        on_ready(url)
        await stop.wait()
