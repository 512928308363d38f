"""The composition root of one proxy process: builds everything once, in order, and takes it down in the other order.

Stopping: refuse new connections, let what is in flight end within `drain_s`, cut the rest, write the journal's queue, close.
"""

import asyncio
import logging
import os
import signal
import ssl
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from comparator.exchange import Side
from proxy.admin import api
from proxy.callers import CallerConnection
from proxy.checks import watch_backend
from proxy.errors import SettingsError
from proxy.front import Front
from proxy.journal.writing import Counts, Writer
from proxy.metrics import Gauges, ProxyMetrics
from proxy.rollout.plan import candidate_share
from proxy.rollout.service import Rollout
from proxy.rollout.state import States
from proxy.rollout.switch import POLL_S, Switch
from proxy.settings import Settings, Tls

logger = logging.getLogger(__name__)

SWEEP_S = 0.1
BACKLOG = 2048

PARENT_S = 1.0

Reload = Callable[[], Settings]


@dataclass(frozen=True, slots=True)
class Worker:
    """Which of several processes this is (0 when alone), and how often it was started again."""

    number: int = 0
    restarts: int = 0
    supervised: bool = True


ALONE = Worker(supervised=False)


@dataclass(slots=True)
class Proxy:
    """A proxy process that is up.

    Attributes:
        port: where callers are served; 0 for a unix socket.
        admin_port: the control port.
        front: shared state of the connections.
        rollout: who serves, and all that may change it.
    """

    front: Front
    rollout: Rollout
    journal: Writer | None
    port: int = 0
    admin_port: int = 0
    servers: list[asyncio.Server] = field(default_factory=list[asyncio.Server])

    @property
    def switch(self) -> Switch:
        """The on-call switch."""
        return self.rollout.switch

    @property
    def ready(self) -> bool:
        """Whether new callers are welcome."""
        return not self.front.draining

    def status(self) -> dict[str, Any]:
        """What /status shows."""
        front, metrics = self.front, self.front.metrics
        counts = self.journal.counts if self.journal else Counts()
        return {
            "stage": front.plan.stage,
            "candidate_share": candidate_share(front.plan),
            "rollout": self.rollout.overview(),
            "draining": front.draining,
            "backends": front.steering.status(),
            "served": metrics.served,
            "in_flight": len(front.forwardings),
            "overlapped": metrics.overlapped,
            "skipped": {skip.value: count for skip, count in metrics.skipped.items() if count},
            "journal": {
                "written": counts.written,
                "queued": counts.queued,
                "dropped": {cause.value: count for cause, count in counts.losses().items() if count},
                "healthy": self.journal.healthy if self.journal else None,
            },
        }


async def serve(
    settings: Settings, *, environ: Mapping[str, str], reload: Reload | None = None, worker: Worker = ALONE
) -> None:
    """Serve until SIGTERM or SIGINT, or until the supervisor is gone. SIGHUP reads settings again; SIGUSR2 rolls back."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    parent = os.getppid()
    async with running(settings, environ=environ, worker=worker) as proxy:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGUSR2, lambda: proxy.switch.rollback(actor="SIGUSR2", reason=""))
        if reload is not None:
            loop.add_signal_handler(signal.SIGHUP, _reload, proxy, reload)
        logger.info("proxy_started", extra={"port": proxy.port, "admin_port": proxy.admin_port})
        while not stop.is_set():
            try:
                async with asyncio.timeout(PARENT_S):
                    await stop.wait()
            except TimeoutError:
                if worker.supervised and os.getppid() != parent:
                    stop.set()
        logger.info("proxy_stopping")


@asynccontextmanager
async def running(
    settings: Settings, *, environ: Mapping[str, str], worker: Worker = ALONE
) -> AsyncGenerator[Proxy, None]:
    """A proxy that serves inside the context.

    Raises:
        SettingsError: settings that only show as wrong when used (TLS files, a route's path).
        JournalKeyError: SHADOW_JOURNAL_KEY is no key.
        OSError: a port is taken.
    """
    metrics = ProxyMetrics()
    journal = Writer(settings.journal, environ=environ) if settings.journal.enabled else None
    fronts: list[Front] = []
    rollout = Rollout(settings, lambda states, rolled_back: _serve_by(fronts, states, rolled_back))
    rollout.start()
    stopped = asyncio.Event()
    try:
        async with asyncio.TaskGroup() as group:
            front = Front(
                settings,
                group,
                journal=journal,
                metrics=metrics,
                rolled_back=rollout.switch.rolled_back,
                states=rollout.replica.states,
            )
            fronts.append(front)
            proxy = Proxy(front, rollout, journal)
            metrics.gauges = _gauges(proxy)
            metrics.restarts = worker.restarts
            if journal:
                journal.start()
            group.create_task(_sweep(front, stopped), name="sweep-deadlines")
            group.create_task(_watch(rollout.switch, stopped), name="watch-switch")
            for side in Side:
                watching = watch_backend(side, lambda: front.settings, front.steering, stopped)
                group.create_task(watching, name=f"check-{side}")
            try:
                async with rollout.running(), _admin(proxy, settings, worker):
                    await _listen(proxy, settings)
                    try:
                        yield proxy
                    finally:
                        await _drain(proxy)
            finally:
                front.close()
                stopped.set()
    finally:
        if journal:
            await asyncio.to_thread(journal.close)


async def _listen(proxy: Proxy, settings: Settings) -> None:
    loop = asyncio.get_running_loop()
    listen, front = settings.listen, proxy.front
    tls = _tls(listen.tls, "$.listen.tls")
    if listen.unix:
        server = await loop.create_unix_server(lambda: CallerConnection(front), listen.unix, backlog=BACKLOG, ssl=tls)
    else:
        server = await loop.create_server(
            lambda: CallerConnection(front),
            listen.host,
            listen.port,
            backlog=BACKLOG,
            reuse_port=listen.workers > 1 or None,
            ssl=tls,
        )
        proxy.port = server.sockets[0].getsockname()[1]
    proxy.servers.append(server)


@asynccontextmanager
async def _admin(proxy: Proxy, settings: Settings, worker: Worker) -> AsyncGenerator[None, None]:
    registry = CollectorRegistry()
    registry.register(proxy.front.metrics)
    registry.register(proxy.rollout.metrics)
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    app = api.build(registry=registry, switch=proxy.switch, view=proxy)
    proxy.rollout.mount(app)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        port = settings.admin.port + worker.number if settings.admin.port else 0
        site = web.TCPSite(runner, settings.admin.host, port, ssl_context=_tls(settings.admin.tls, "$.admin.tls"))
        await site.start()
        proxy.admin_port = runner.addresses[0][1]
        yield
    finally:
        await runner.cleanup()


async def _drain(proxy: Proxy) -> None:
    """Refuse, let end, cut."""
    front = proxy.front
    front.draining = True
    for server in proxy.servers:
        server.close()
    idle = asyncio.Event()
    front.on_idle = lambda: idle.set() if not front.callers and not front.forwardings else None
    for caller in list(front.callers):
        caller.drain()
    front.on_idle()
    try:
        async with asyncio.timeout(front.limits.drain_s):
            await idle.wait()
    except TimeoutError:
        logger.warning("drain_cut", extra={"in_flight": len(front.forwardings), "callers": len(front.callers)})
    now = front.now()
    for forwarding in list(front.forwardings):
        forwarding.expire(now)
    for caller in list(front.callers):
        caller.abort()
    # One turn of the loop lets the transports say that they are closed.
    await asyncio.sleep(0)


async def _sweep(front: Front, stopped: asyncio.Event) -> None:
    while not stopped.is_set():
        try:
            async with asyncio.timeout(SWEEP_S):
                await stopped.wait()
        except TimeoutError:
            front.sweep(front.now())


async def _watch(switch: Switch, stopped: asyncio.Event) -> None:
    while not stopped.is_set():
        try:
            async with asyncio.timeout(POLL_S):
                await stopped.wait()
        except TimeoutError:
            switch.poll()


def _serve_by(fronts: list[Front], states: States, rolled_back: bool) -> None:
    """Who serves has changed, or may have."""
    for front in fronts:
        before = front.plans
        front.set_rollout(states, rolled_back)
        if front.plans != before:
            logger.warning("serving_changed", extra={"stage": front.plan.stage})


def _reload(proxy: Proxy, reload: Reload) -> None:
    """Take new settings; wrong ones change nothing. Listeners, the journal and the rollout keep theirs until a restart."""
    try:
        proxy.front.apply(_keeping_rollout(reload(), proxy.front.settings))
    except (SettingsError, OSError) as error:
        logger.error("reload_refused", extra={"error": str(error)})
        return
    logger.info("reloaded", extra={"stage": proxy.front.plan.stage})


def _keeping_rollout(settings: Settings, now: Settings) -> Settings:
    """New settings with the steps, and where they say who serves the salt, of now: only the rollout moves callers."""
    salt = now.serve.salt if now.rollout.enabled else settings.serve.salt
    serve = msgspec.structs.replace(settings.serve, salt=salt)
    return msgspec.structs.replace(settings, rollout=now.rollout, serve=serve)


def _tls(files: Tls | None, place: str) -> ssl.SSLContext | None:
    if files is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(files.certificate, files.key)
    except OSError as error:
        raise SettingsError(f"the certificate or its key cannot be used: {error} - at `{place}`") from error
    return context


def _gauges(proxy: Proxy) -> Gauges:
    front = proxy.front
    return Gauges(
        in_flight=lambda: len(front.forwardings),
        caller_connections=lambda: len(front.callers),
        backend_connections=lambda: front.backend_connections,
        candidate_share=lambda: candidate_share(front.plan),
        rolled_back=lambda: proxy.switch.rolled_back,
        fit=front.steering.fit,
        journal=lambda: proxy.journal.counts if proxy.journal else Counts(),
    )
