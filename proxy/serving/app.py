"""The composition root of one proxy process: build every part once, in order, and close them in reverse order.

Stopping: refuse new connections, let requests in flight end within `drain_s`, abort the rest, write the queue of the journal, close.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import ssl
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from comparator.exchanges.model import Side
from proxy.admin import api
from proxy.admin.connections import HEAD_S, AdminConnections, secure
from proxy.admin.reserved_listener import ReservedListener, listening_sockets
from proxy.config.journal import JournalDriver
from proxy.config.listen import TlsSettings
from proxy.config.settings import Settings
from proxy.journal.driver import JournalWriter, WriterCounts
from proxy.journal.registry import open_writer
from proxy.rollout.disk import DiskThread
from proxy.rollout.group_state import States
from proxy.rollout.service import RolloutService
from proxy.rollout.switch import POLL_S, Switch
from proxy.rollout.traffic_split import candidate_share
from proxy.serving.client_connection import ClientConnection
from proxy.serving.config_reload import ConfigReloader, ConfigSource, LoadedCertificate, tls_context
from proxy.serving.event_wait import wait_for_event
from proxy.serving.metrics import Gauges, ProxyMetrics
from proxy.serving.shipper_process import SpoolWatch
from proxy.serving.signal_mask import unblock_signals
from proxy.serving.state import ServingState
from proxy.serving.worker_handoff import InheritedFds, WorkerStats

logger = logging.getLogger(__name__)

SWEEP_S = 0.1
JOURNAL_CLOSE_S = 15.0
SAME_SIGNAL_S = 5.0
ADMIN_IDLE_S = 75.0
CONFIG_POLL_S = 1.0
"""Interval at which a process checks that its configuration is unchanged and its supervisor alive, in seconds."""


@dataclass(frozen=True, slots=True)
class WorkerIdentity:
    """The place of a process among several workers.

    Attributes:
        number: of its slot; 0 when it is alone.
        restarts: crashes in this slot so far.
        lost: requests in flight and exchanges queued for the journal that were lost with them.
        inherited_fds: passed by the supervisor, None without one.
    """

    number: int = 0
    restarts: int = 0
    lost: tuple[int, ...] = (0, 0)
    inherited_fds: InheritedFds | None = None


ALONE = WorkerIdentity()


@dataclass(slots=True)
class RunningProxy:
    """A proxy process that serves.

    Attributes:
        state: shared by all connections.
        rollout: state and control of the rollout.
        journal: None when it is disabled.
        reloader: puts new settings in force.
        port: for clients; 0 for a unix socket.
        admin_port: the control port.
    """

    state: ServingState
    rollout: RolloutService
    journal: JournalWriter | None
    reloader: ConfigReloader
    port: int = 0
    admin_port: int = 0
    servers: list[asyncio.Server] = field(default_factory=list[asyncio.Server])
    admin_listener: ReservedListener | None = None

    @property
    def switch(self) -> Switch:
        """The on-call switch."""
        return self.rollout.switch

    @property
    def ready(self) -> bool:
        """True if new clients are accepted."""
        return not self.state.connections.draining

    def status(self) -> dict[str, Any]:
        """Return the document of /status."""
        state, metrics = self.state, self.state.metrics
        counts = self.journal.counts if self.journal else WriterCounts()
        return {
            "stage": state.sides.split.stage,
            "candidate_share": candidate_share(state.sides.split),
            "rollout": self.rollout.overview(),
            "draining": state.connections.draining,
            "backends": state.failover.status(),
            "config": self.reloader.status(),
            "served": metrics.served,
            "served_under_split": metrics.served_under_split(),
            "in_flight": len(state.connections.requests),
            "overlapped": metrics.overlapped,
            "skipped": {skip.value: count for skip, count in metrics.skipped.items() if count},
            "unrouted": state.recorder.unrouted.most_frequent(),
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
    """Serve until SIGTERM or SIGINT, or until the supervisor is gone.

    SIGHUP reloads the configuration, SIGUSR2 rolls back. SIGUSR1 is like SIGTERM, but another process has already taken over: the control
    port is closed before the drain.

    Args:
        settings: of config.yaml.
        environ: has the secrets that are not in the settings.
        source: of new settings; None never reloads.
        worker: the place of this process.
    """
    loop = asyncio.get_running_loop()
    parent = os.getppid()
    flags = SignalFlags()
    async with running(settings, environ=environ, worker=worker) as proxy:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, flags.stop)
        loop.add_signal_handler(signal.SIGUSR1, flags.hand_over)
        supervisor = parent if worker.inherited_fds else os.getpid()
        loop.add_signal_handler(signal.SIGUSR2, roll_back_on_signal, proxy.switch, supervisor)
        loop.add_signal_handler(signal.SIGHUP, flags.reload)
        unblock_signals()
        proxy.reloader.keep(settings)
        logger.info("proxy_started", extra={"port": proxy.port, "admin_port": proxy.admin_port})
        budget = proxy.state.descriptors
        fits = logging.INFO if budget.fitting >= budget.wanted else logging.WARNING
        logger.log(fits, "descriptors_divided", extra={"clients_max": budget.clients, "detail": budget.describe()})
        if worker.inherited_fds:
            worker.inherited_fds.notify_ready()
        while not flags.stopping:
            await flags.wait(CONFIG_POLL_S)
            if worker.inherited_fds and os.getppid() != parent:
                flags.stop()
            elif source is not None and (flags.reloading or await proxy.reloader.has_changed(source)):
                flags.reloading = False
                await proxy.reloader.reload_from(source)
        if flags.handing_over and proxy.admin_listener is not None:
            proxy.admin_listener.close()
        logger.info("proxy_stopping")


def roll_back_on_signal(switch: Switch, supervisor_pid: int) -> None:
    """Roll back on SIGUSR2. The processes of one supervisor get the signal at the same time, and log it as one rollback."""
    identity = f"SIGUSR2 {socket.gethostname()} {supervisor_pid} {round(time.time() / SAME_SIGNAL_S)}"
    switch.rollback(actor="SIGUSR2", reason="", identity=identity)


class SignalFlags:
    """The requests that signals have made of a process."""

    def __init__(self) -> None:
        self.stopping = self.handing_over = self.reloading = False
        self._received = asyncio.Event()

    async def wait(self, seconds: float) -> None:
        """Wait for a signal, at most so long."""
        if await wait_for_event(self._received, seconds):
            self._received.clear()

    def stop(self) -> None:
        """Drain and end."""
        self.stopping = True
        self._received.set()

    def hand_over(self) -> None:
        """Drain and end, because another process serves already."""
        self.handing_over = True
        self.stop()

    def reload(self) -> None:
        """Reload the configuration, changed or not."""
        self.reloading = True
        self._received.set()


@asynccontextmanager
async def running(
    settings: Settings, *, environ: Mapping[str, str], worker: WorkerIdentity = ALONE
) -> AsyncGenerator[RunningProxy, None]:
    """Run a proxy for the life of the context.

    Raises:
        SettingsError: settings that only prove wrong when used (TLS files, a route's path).
        JournalKeyError: SHADOW_JOURNAL_KEY is not a key.
        OSError: a port is taken.
    """
    metrics = ProxyMetrics()
    journal = open_writer(settings.journal, environ=environ) if settings.journal.enabled else None
    state: ServingState | None = None

    def apply_rollout(states: States, rolled_back: bool) -> None:
        if state is None:  # (not yet built: it starts with the states of that moment)
            return
        before = state.sides.splits
        state.sides.set_rollout(states, rolled_back)
        if state.sides.splits != before:
            state.metrics.start_split()
            logger.warning("serving_changed", extra={"stage": state.sides.split.stage})

    rollout = RolloutService(settings, apply_rollout)
    rollout.start()
    stopped = asyncio.Event()
    try:
        async with asyncio.TaskGroup() as group:
            state = ServingState(
                settings,
                group,
                journal=journal,
                metrics=metrics,
                rolled_back=rollout.switch.rolled_back,
                states=rollout.replica.states,
            )
            proxy = RunningProxy(state, rollout, journal, ConfigReloader(state, settings))
            spool = _spool_watch(settings, worker)
            metrics.gauges = _gauges(proxy, spool)
            metrics.restarts = worker.restarts
            metrics.lost_requests, metrics.lost_exchanges = worker.lost
            stats = WorkerStats(worker.inherited_fds.stats) if worker.inherited_fds else None
            if journal:
                journal.start()
            group.create_task(_sweep(proxy, stats, stopped), name="sweep-deadlines")
            group.create_task(_watch(rollout.switch, stopped), name="watch-switch")
            if spool is not None:
                group.create_task(spool.run(stopped), name="watch-spool")
            for side in Side:
                group.create_task(state.failover.watch(side, stopped), name=f"check-{side}")
            try:
                async with rollout.running(), _admin(proxy, settings, worker):
                    await _listen(proxy, settings, worker)
                    try:
                        yield proxy
                    finally:
                        await _drain(proxy)
            finally:
                state.backends.close()
                stopped.set()
    finally:
        if journal:
            # (a thread of its own: asyncio waits for its own threads without a limit, and this one may hang in the disk)
            with contextlib.suppress(OSError):
                await DiskThread("journal-close").run(journal.close, timeout_s=JOURNAL_CLOSE_S)


async def _listen(proxy: RunningProxy, settings: Settings, worker: WorkerIdentity) -> None:
    loop = asyncio.get_running_loop()
    listen = settings.listen
    tls = _tls(proxy, listen.tls, "listen.tls")
    backlog = proxy.state.descriptors.backlog
    # (the default is a minute, in which each connection takes a descriptor)
    handshake_s = settings.limits.header_s if tls else None

    def protocol() -> ClientConnection:
        return ClientConnection(proxy.state)

    if worker.inherited_fds:
        listener = socket.socket(fileno=worker.inherited_fds.clients)
        create = loop.create_unix_server if listen.unix else loop.create_server
        server = await create(protocol, sock=listener, backlog=backlog, ssl=tls, ssl_handshake_timeout=handshake_s)
    elif listen.unix:
        server = await loop.create_unix_server(
            protocol, listen.unix, backlog=backlog, ssl=tls, ssl_handshake_timeout=handshake_s
        )
    else:
        server = await loop.create_server(
            protocol, listen.host, listen.port, backlog=backlog, ssl=tls, ssl_handshake_timeout=handshake_s
        )
    proxy.port = 0 if listen.unix else server.sockets[0].getsockname()[1]
    proxy.servers.append(server)


@asynccontextmanager
async def _admin(proxy: RunningProxy, settings: Settings, worker: WorkerIdentity) -> AsyncGenerator[None, None]:
    registry = CollectorRegistry()
    registry.register(proxy.state.metrics)
    registry.register(proxy.rollout.metrics)
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    app = api.build(registry=registry, switch=proxy.switch, view=proxy)
    proxy.rollout.mount(app)
    names = (*settings.admin.hosts, settings.admin.host)
    connections = AdminConnections(
        recognizes=proxy.rollout.authorizer.recognizes,
        hosts=names,
        connections_max=proxy.state.descriptors.admin,
    )
    app.on_response_prepare.append(secure(connections))
    runner = web.AppRunner(
        app, access_log=None, shutdown_timeout=1.0, keepalive_timeout=ADMIN_IDLE_S, lingering_time=1.0
    )
    await runner.setup()
    try:
        connections.serve_with(runner.server)
        tls = _tls(proxy, settings.admin.tls, "admin.tls")
        if worker.inherited_fds:
            sockets = [socket.socket(fileno=worker.inherited_fds.admin)]
        else:
            sockets = listening_sockets(settings.admin.host, settings.admin.port)
        async with asyncio.TaskGroup() as group:
            listener = ReservedListener(
                sockets, connections.connection, tls=tls, handshake_s=HEAD_S if tls else None, group=group
            )
            proxy.admin_listener = listener
            proxy.admin_port = listener.port
            try:
                yield
            finally:
                listener.close()
    finally:
        await runner.cleanup()


async def _drain(proxy: RunningProxy) -> None:
    """Refuse new connections, let the open ones end in time, and abort the rest."""
    connections, limits = proxy.state.connections, proxy.state.limits
    for server in proxy.servers:
        server.close()
    if not await connections.drain(drain_s=limits.drain_s, unused_s=limits.drain_idle_s):
        open_now = {"in_flight": len(connections.requests), "clients": len(connections.clients)}
        logger.warning("drain_timed_out", extra=open_now)
    connections.abort_all(proxy.state.now())
    if proxy.journal is not None:
        # (those that were cut off are in the journal, as failed ones)
        _note_in_flight(proxy.state, proxy.journal)
    # (one turn of the loop in which the transports report that they are closed)
    await asyncio.sleep(0)


async def _sweep(proxy: RunningProxy, stats: WorkerStats | None, stopped: asyncio.Event) -> None:
    """Sweep deadlines and health, and write the statistics for the supervisor."""
    state, journal = proxy.state, proxy.journal
    while not await wait_for_event(stopped, SWEEP_S):
        state.sweep(state.now())
        if stats is not None:
            stats.write(len(state.connections.requests), journal.counts.queued if journal else 0)
        if journal is not None:
            _note_in_flight(state, journal)
    if stats is not None:
        # (the drain is over, and the queue is written before the process ends)
        stats.write(0, 0)


def _note_in_flight(state: ServingState, journal: JournalWriter) -> None:
    """Note for the journal's readers which requests have ended."""
    requests = state.connections.requests
    settled_ns = min((request.started_ns for request in requests), default=time.time_ns())
    journal.note_in_flight(len(requests), settled_ns=settled_ns)


async def _watch(switch: Switch, stopped: asyncio.Event) -> None:
    while not await wait_for_event(stopped, POLL_S):
        switch.poll()


def _tls(proxy: RunningProxy, files: TlsSettings | None, location: str) -> ssl.SSLContext | None:
    if files is None:
        return None
    context = tls_context(files, location)
    proxy.reloader.certificates.append(LoadedCertificate(context, files, location))
    return context


def _spool_watch(settings: Settings, worker: WorkerIdentity) -> SpoolWatch | None:
    """Return the watch of this machine's spool, in one process of a machine: all others would report the same."""
    shared = settings.journal.enabled and settings.journal.driver is JournalDriver.VALKEY
    return SpoolWatch(Path(settings.journal.directory)) if shared and worker.number == 0 else None


def _gauges(proxy: RunningProxy, spool: SpoolWatch | None) -> Gauges:
    state = proxy.state
    return Gauges(
        in_flight=lambda: len(state.connections.requests),
        client_connections=lambda: len(state.connections.clients),
        backend_connections=lambda: state.backends.connections,
        candidate_share=lambda: candidate_share(state.sides.split),
        rolled_back=lambda: proxy.switch.rolled_back,
        backend_health=state.failover.health,
        journal=lambda: proxy.journal.counts if proxy.journal else WriterCounts(),
        head_lookups=lambda: state.head_lookups,
        spool=lambda: spool.state if spool is not None else None,
    )
