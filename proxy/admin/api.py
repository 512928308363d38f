"""The control port of a proxy process: /metrics, /healthz, /readyz and /status. It listens on loopback by default.

proxy.rollout.http_api adds the endpoints of the rollout, with their own access rules.
"""

from typing import Any, Protocol

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from proxy.admin.request_checks import BODY_MAX_BYTES
from proxy.rollout.switch import Switch

REGISTRY = web.AppKey("registry", CollectorRegistry)
SWITCH = web.AppKey("switch", Switch)
VIEW: web.AppKey["StatusView"] = web.AppKey("view")


class StatusView(Protocol):
    """The state of a proxy process, as the endpoints show it."""

    @property
    def ready(self) -> bool:
        """True if new clients are accepted."""
        ...

    def status(self) -> dict[str, Any]:
        """Return the document of /status, without the on-call switch."""
        ...


def build(*, registry: CollectorRegistry, switch: Switch, view: StatusView) -> web.Application:
    """Build the application of the control port."""
    app = web.Application(client_max_size=BODY_MAX_BYTES)
    app[REGISTRY] = registry
    app[SWITCH] = switch
    app[VIEW] = view
    app.router.add_get("/metrics", _metrics)
    app.router.add_get("/healthz", _healthz)
    app.router.add_get("/readyz", _readyz)
    app.router.add_get("/status", _status)
    return app


def metrics_page(registry: CollectorRegistry, request: web.Request) -> web.Response:
    """Return the metrics as the scraper accepts them: OpenMetrics, which has exemplars, or Prometheus' text format."""
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return web.Response(body=encode(registry), headers={"Content-Type": content_type})


async def _metrics(request: web.Request) -> web.Response:
    return metrics_page(request.app[REGISTRY], request)


async def _healthz(request: web.Request) -> web.Response:
    del request
    return web.json_response({"status": "ok"})


async def _readyz(request: web.Request) -> web.Response:
    ready = request.app[VIEW].ready
    return web.json_response({"ready": ready}, status=200 if ready else 503)


async def _status(request: web.Request) -> web.Response:
    switch = request.app[SWITCH]
    return web.json_response({**request.app[VIEW].status(), "switch": msgspec.to_builtins(switch.state)})
