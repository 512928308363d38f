"""The composition root of one proxy process: builds everything once, in order, and takes it down in the other order.

Stopping: refuse new connections, let what is in flight end within `drain_s`, cut the rest, write the journal's queue, close.
"""

import asyncio
import logging
import os
import signal
import socket
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from comparator.exchanges.model import Side
from proxy.admin import api
from proxy.config.listen import TlsSettings
from proxy.config.settings import Settings
from proxy.journal.driver import JournalWriter, WriterCounts
from proxy.journal.registry import open_writer
from proxy.rollout.group_state import States
from proxy.rollout.service import RolloutService
from proxy.rollout.switch import POLL_S, Switch
from proxy.rollout.traffic_split import candidate_share
from proxy.serving import signal_mask as signals
from proxy.serving.client_connection import ClientConnection
from proxy.serving.config_reload import ConfigReloader, ConfigSource, LoadedCertificate, tls_context
from proxy.serving.health_checks import watch_backend
from proxy.serving.metrics import Gauges, ProxyMetrics
from proxy.serving.state import ServingState
from proxy.serving.worker_handoff import BACKLOG, InheritedFds, WorkerStats

logger = logging.getLogger(__name__)

SWEEP_S = 0.1
LOOK_S = 1.0
"""How often a process looks whether its configuration has changed and its supervisor is still there."""


@dataclass(frozen=True, slots=True)
class WorkerIdentity:
    """Which of several processes this is (0 when alone), what became of those before it, and what its parent hands it."""

    number: int = 0
    restarts: int = 0
    lost: tuple[int, ...] = (0, 0)
    """Requests in flight and copies that died with them."""
    handed: InheritedFds | None = None


ALONE = WorkerIdentity()


@dataclass(slots=True)
class RunningProxy:
    """A proxy process that is up.

    Attributes:
        port: where clients are served; 0 for a unix socket.
        admin_port: the control port.
        front: shared state of the connections.
        rollout: who serves, and all that may change it.
        reloading: puts new settings in force.
    """

    front: ServingState
    rollout: RolloutService
    journal: JournalWriter | None
    reloading: ConfigReloader
    port: int = 0
    admin_port: int = 0
    servers: list[asyncio.Server] = field(default_factory=list[asyncio.Server])
    admin_site: web.BaseSite | None = None

    @property
    def switch(self) -> Switch:
        """The on-call switch."""
        return self.rollout.switch

    @property
    def ready(self) -> bool:
        """Whether new clients are welcome."""
        return not self.front.draining

    def status(self) -> dict[str, Any]:
        """What /status shows."""
        front, metrics = self.front, self.front.metrics
        counts = self.journal.counts if self.journal else WriterCounts()
        return {
            "stage": front.plan.stage,
            "candidate_share": candidate_share(front.plan),
            "rollout": self.rollout.overview(),
            "draining": front.draining,
            "backends": front.steering.status(),
            "config": self.reloading.status(),
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
    settings: Settings,
    *,
    environ: Mapping[str, str],
    source: ConfigSource | None = None,
    worker: WorkerIdentity = ALONE,
) -> None:
    """Serve until SIGTERM or SIGINT, or until the supervisor is gone. SIGHUP reads settings again; SIGUSR2 rolls back.

    SIGUSR1 is SIGTERM where another process has taken this one's place: the control port is given up before the drain.
    """
    loop = asyncio.get_running_loop()
    parent = os.getppid()
    asked = SignalFlags()
    async with running(settings, environ=environ, worker=worker) as proxy:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, asked.stop)
        loop.add_signal_handler(signal.SIGUSR1, asked.hand_over)
        loop.add_signal_handler(signal.SIGUSR2, lambda: proxy.switch.rollback(actor="SIGUSR2", reason=""))
        loop.add_signal_handler(signal.SIGHUP, asked.reload)
        signals.release()
        logger.info("proxy_started", extra={"port": proxy.port, "admin_port": proxy.admin_port})
        if worker.handed:
            worker.handed.notify_ready()
        while not asked.stopping:
            await asked.wait(LOOK_S)
            if worker.handed and os.getppid() != parent:
                asked.stop()
            elif source is not None and (source.changed or asked.reloading):
                asked.reloading = False
                await proxy.reloading.take_from(source)
        if asked.handing_over and proxy.admin_site is not None:
            await proxy.admin_site.stop()
        logger.info("proxy_stopping")


class SignalFlags:
    """What signals have asked a process to do."""

    def __init__(self) -> None:
        self.stopping = self.handing_over = self.reloading = False
        self._something = asyncio.Event()

    async def wait(self, seconds: float) -> None:
        """Wait until something is asked, at most so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._something.wait()
        except TimeoutError:
            return
        self._something.clear()

    def stop(self) -> None:
        """Drain and end."""
        self.stopping = True
        self._something.set()

    def hand_over(self) -> None:
        """Drain and end: somebody else serves already."""
        self.handing_over = True
        self.stop()

    def reload(self) -> None:
        """Read the settings again, changed or not."""
        self.reloading = True
        self._something.set()


@asynccontextmanager
async def running(
    settings: Settings, *, environ: Mapping[str, str], worker: WorkerIdentity = ALONE
) -> AsyncGenerator[RunningProxy, None]:
    """A proxy that serves inside the context.

    Raises:
        SettingsError: settings that only show as wrong when used (TLS files, a route's path).
        JournalKeyError: SHADOW_JOURNAL_KEY is no key.
        OSError: a port is taken.
    """
    metrics = ProxyMetrics()
    journal = open_writer(settings.journal, environ) if settings.journal.enabled else None
    fronts: list[ServingState] = []
    rollout = RolloutService(settings, lambda states, rolled_back: _serve_by(fronts, states, rolled_back))
    rollout.start()
    stopped = asyncio.Event()
    try:
        async with asyncio.TaskGroup() as group:
            front = ServingState(
                settings,
                group,
                journal=journal,
                metrics=metrics,
                rolled_back=rollout.switch.rolled_back,
                states=rollout.replica.states,
            )
            fronts.append(front)
            proxy = RunningProxy(front, rollout, journal, ConfigReloader(front, settings))
            metrics.gauges = _gauges(proxy)
            metrics.restarts = worker.restarts
            metrics.lost_requests, metrics.lost_copies = worker.lost
            vitals = WorkerStats(worker.handed.vitals) if worker.handed else None
            if journal:
                journal.start()
            group.create_task(_sweep(proxy, vitals, stopped), name="sweep-deadlines")
            group.create_task(_watch(rollout.switch, stopped), name="watch-switch")
            for side in Side:
                watching = watch_backend(side, lambda: front.settings, front.steering, stopped)
                group.create_task(watching, name=f"check-{side}")
            try:
                async with rollout.running(), _admin(proxy, settings, worker):
                    await _listen(proxy, settings, worker)
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


async def _listen(proxy: RunningProxy, settings: Settings, worker: WorkerIdentity) -> None:
    loop = asyncio.get_running_loop()
    listen, front = settings.listen, proxy.front
    tls = _tls(proxy, listen.tls, "listen.tls")

    def protocol() -> ClientConnection:
        return ClientConnection(front)

    if worker.handed:
        handed = socket.socket(fileno=worker.handed.clients)
        create = loop.create_unix_server if listen.unix else loop.create_server
        server = await create(protocol, sock=handed, backlog=BACKLOG, ssl=tls)
    elif listen.unix:
        server = await loop.create_unix_server(protocol, listen.unix, backlog=BACKLOG, ssl=tls)
    else:
        server = await loop.create_server(protocol, listen.host, listen.port, backlog=BACKLOG, ssl=tls)
    proxy.port = 0 if listen.unix else server.sockets[0].getsockname()[1]
    proxy.servers.append(server)


@asynccontextmanager
async def _admin(proxy: RunningProxy, settings: Settings, worker: WorkerIdentity) -> AsyncGenerator[None, None]:
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
        tls = _tls(proxy, settings.admin.tls, "admin.tls")
        if worker.handed:
            site = web.SockSite(runner, socket.socket(fileno=worker.handed.admin), ssl_context=tls)
        else:
            site = web.TCPSite(runner, settings.admin.host, settings.admin.port, ssl_context=tls)
        await site.start()
        proxy.admin_site = site
        proxy.admin_port = runner.addresses[0][1]
        yield
    finally:
        await runner.cleanup()


async def _drain(proxy: RunningProxy) -> None:
    """Refuse, let end, cut.

    An unused connection is left open for a while: its client may just be sending a request, which is answered with
    Connection: close. Closed at once, that request would be lost to a reset.
    """
    front = proxy.front
    front.draining = True
    for server in proxy.servers:
        server.close()
    idle = asyncio.Event()
    front.on_idle = lambda: idle.set() if not front.clients and not front.forwardings else None
    front.on_idle()
    limits = front.limits
    unused_s = min(limits.drain_idle_s, limits.drain_s)
    if not await _within(unused_s, idle):
        for client in list(front.clients):
            client.drain()
        front.on_idle()
        if not await _within(limits.drain_s - unused_s, idle):
            logger.warning("drain_cut", extra={"in_flight": len(front.forwardings), "clients": len(front.clients)})
    now = front.now()
    for forwarding in list(front.forwardings):
        forwarding.expire(now)
    for client in list(front.clients):
        client.abort()
    # One turn of the loop lets the transports say that they are closed.
    await asyncio.sleep(0)


async def _within(seconds: float, event: asyncio.Event) -> bool:
    """Whether something happens in time."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


async def _sweep(proxy: RunningProxy, vitals: WorkerStats | None, stopped: asyncio.Event) -> None:
    """Look at deadlines and at the backends' health; leave the vital signs where the parent finds them."""
    front, journal = proxy.front, proxy.journal
    while not await _within(SWEEP_S, stopped):
        front.sweep(front.now())
        if vitals is not None:
            vitals.write(len(front.forwardings), journal.counts.queued if journal else 0)
    if vitals is not None:
        # (the drain is over, and the queue is written before the process ends)
        vitals.write(0, 0)


async def _watch(switch: Switch, stopped: asyncio.Event) -> None:
    while not await _within(POLL_S, stopped):
        switch.poll()


def _serve_by(fronts: list[ServingState], states: States, rolled_back: bool) -> None:
    """Who serves has changed, or may have."""
    for front in fronts:
        before = front.plans
        front.set_rollout(states, rolled_back)
        if front.plans != before:
            logger.warning("serving_changed", extra={"stage": front.plan.stage})


def _tls(proxy: RunningProxy, files: TlsSettings | None, place: str) -> ssl.SSLContext | None:
    if files is None:
        return None
    context = tls_context(files, place)
    proxy.reloading.certified.append(LoadedCertificate(context, files, place))
    return context


def _gauges(proxy: RunningProxy) -> Gauges:
    front = proxy.front
    return Gauges(
        in_flight=lambda: len(front.forwardings),
        client_connections=lambda: len(front.clients),
        backend_connections=lambda: front.backend_connections,
        candidate_share=lambda: candidate_share(front.plan),
        rolled_back=lambda: proxy.switch.rolled_back,
        fit=front.steering.available,
        journal=lambda: proxy.journal.counts if proxy.journal else WriterCounts(),
        heads=lambda: front.heads_read,
    )
