"""The rollout in one proxy process: its parts, built once and run beside the serving."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import msgspec
from aiohttp import web

from proxy.config.rollout import RolloutSettings, steps_of
from proxy.config.settings import Settings
from proxy.errors import SettingsError
from proxy.rollout import http_api
from proxy.rollout.audit import AuditEntry
from proxy.rollout.auth import Authorizer
from proxy.rollout.buckets import salt_of
from proxy.rollout.control import open_control
from proxy.rollout.controller import Controller
from proxy.rollout.disk import Disks
from proxy.rollout.evidence import Evidence, SuspectFinding
from proxy.rollout.evidence_collector import EvidenceSources, collect_evidence
from proxy.rollout.group_state import GroupState, States
from proxy.rollout.metrics import RolloutMetrics
from proxy.rollout.notifications import notice_of, notice_of_cause
from proxy.rollout.notifier import Notifier
from proxy.rollout.peers import PeerSync
from proxy.rollout.rollback_impact_collector import ImpactSources, collect_impact

logger = logging.getLogger(__name__)

RESTART_S = 1.0
CATCH_UP_S = 1.5
DISK_CLOSE_S = 2.0
"""Time that the end waits for the disk, so that a rollback of the last moment is stored."""


class RolloutService:
    """The control of the rollout in one proxy process, and everything that keeps it synchronized.

    Args:
        settings: config.yaml; this is the rollout's composition root, and each part gets its own section.
        serve: called after any change of which side serves, with the states and whether the switch is on.

    Raises:
        SettingsError: peers that have no token to reach each other with.
    """

    def __init__(self, settings: Settings, serve: Callable[[States, bool], None]) -> None:
        rollout = settings.rollout
        self._serve = serve
        self._settings = rollout
        self._has_store = bool(settings.databases.store)
        self._disks = Disks.threads()
        self.control = open_control(
            settings.serve,
            rollout,
            settings.databases.store,
            salt=salt_of(settings.serve.salt).hex()[:16],
            on_change=self._on_change,
            announce=self._announce,
            disks=self._disks,
        )
        self.switch = self.control.switch
        self.replica = self.control.replica
        self.authorizer = Authorizer(rollout.access, settings.admin.token, now=time.monotonic)
        token = settings.admin.token or rollout.access.break_glass_token
        if rollout.peers and not token and not self.authorizer.unrestricted:
            raise SettingsError(
                "rollout.peers: proxies need admin.token or rollout.access.break_glass_token to reach each other"
            )
        scheme = "https" if settings.admin.tls else "http"
        self.peers = PeerSync(rollout.peers, self.replica, token=token, scheme=scheme)
        self.control.ask_others = self.peers.exchange_once
        self.notifier = Notifier(rollout.notifications)
        self._evidence_sources = EvidenceSources.of(settings)
        self._impact_sources = ImpactSources.of(settings)
        self.controller = Controller(
            self.control,
            self._collect_evidence,
            is_leader=self.replica.is_leader,
            on_new_cause=self._notify_of_cause,
        )
        self.metrics = RolloutMetrics(
            self.replica, rollout.gates, lambda: self.controller.latest, lambda: self.notifier.dropped
        )

    def start(self) -> None:
        """Load the states from this machine's files.

        Raises:
            SettingsError: clients would change sides, because `serve.salt` has changed.
        """
        self.control.start()

    async def run(self) -> None:
        """Keep the states synchronized, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for name, work in self._parts():
                group.create_task(_restart_on_failure(name, work), name=f"rollout-{name}")

    def _parts(self) -> Iterable[tuple[str, Callable[[], Awaitable[None]]]]:
        yield "replica", self.replica.run
        if self._settings.peers:
            yield "peers", self.peers.run
        if self._settings.enabled:
            yield "controller", self.controller.run
        yield "notifier", self.notifier.run

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Run for the duration of the block, which starts once the changes of other processes are known."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self.run(), name="rollout")
            try:
                await self._catch_up()
                yield
            finally:
                task.cancel()
                self.replica.close()
                await self._disks.close(DISK_CLOSE_S)

    async def _catch_up(self) -> None:
        """Learn of a rollback that this process missed before it serves a client; wait CATCH_UP_S at most."""
        try:
            async with asyncio.timeout(CATCH_UP_S), asyncio.TaskGroup() as group:
                group.create_task(self.replica.wait_for_first_sync(), name="rollout-first-sync")
                group.create_task(self.peers.exchange_once(), name="rollout-first-exchange")
        except TimeoutError:
            logger.warning("rollout_catch_up_timed_out", extra={"connected": self.replica.connected})

    def mount(self, app: web.Application) -> None:
        """Add the rollout's routes to the admin application."""
        http_api.mount(app, http_api.ApiContext(self.control, self.authorizer, self.overview, self._rollback_impact))

    def overview(self) -> dict[str, Any]:
        """Return the document of GET /rollout, which is a part of /status, too."""
        rollout = self._settings
        return {
            "enabled": rollout.enabled,
            "auto_promote": rollout.auto_promote,
            "stored": self._has_store and self.replica.connected,
            "pending": len(self.replica.pending),
            "revision": self.control.revision,
            "now": self.control.now.timestamp(),
            "in_force": self.control.in_force,
            "groups": [
                {
                    "gates": self._latest_gates(name),
                    **msgspec.to_builtins(state),
                    "percent": _percent(rollout, state),
                    "steps": [step.percent for step in steps_of(rollout, name)],
                }
                for name, state in self.replica.configured.items()
            ],
        }

    def _latest_gates(self, group: str) -> dict[str, Any] | None:
        assessment = self.controller.latest.get(group)
        if assessment is None:
            return None
        history: dict[str, list[str]] = {}
        for earlier in self.controller.history.get(group, ()):
            for gate in earlier.gates:
                history.setdefault(gate.name.value, []).append(gate.outcome.value)
        streaks = {name.value: streak.length for name, streak in self.controller.streaks(group).items()}
        return {"at": assessment.at.isoformat(), **assessment.snapshot(), "history": history, "streaks": streaks}

    def _on_change(self) -> None:
        self._serve(self.replica.states, self.switch.rolled_back)
        self.peers.wake()

    def _announce(self, entry: AuditEntry) -> None:
        self.notifier.notify(notice_of(entry))

    def _notify_of_cause(self, group: str, suspect: SuspectFinding) -> None:
        self.notifier.notify(notice_of_cause(group, suspect, self.control.now.isoformat()))

    async def _collect_evidence(self, state: GroupState, now: datetime) -> Evidence:
        return await collect_evidence(self._evidence_sources, state, now=now)

    async def _rollback_impact(self) -> dict[str, Any]:
        impact = await collect_impact(self._impact_sources)
        return {"rolled_back": self.switch.rolled_back, **msgspec.to_builtins(impact)}


def _percent(rollout: RolloutSettings, state: GroupState) -> float:
    """Return the percentage that the candidate serves at this step; 0 while rolled back."""
    steps = steps_of(rollout, state.group)
    return 0.0 if state.phase.latched else steps[min(state.step, len(steps) - 1)].percent


async def _restart_on_failure(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Run a part again whenever it fails: a defect in the rollout must not stop the serving."""
    while True:
        try:
            await work()
        except Exception:
            logger.exception("rollout_part_failed", extra={"part": name})
        await asyncio.sleep(RESTART_S)
