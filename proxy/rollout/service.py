"""The rollout in one proxy process: builds its parts once and runs them beside the serving."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from proxy.config.rollout import RolloutSettings, steps_of
from proxy.config.settings import Settings
from proxy.errors import SettingsError
from proxy.rollout import http_api as endpoints
from proxy.rollout import rollback_impact as readiness
from proxy.rollout.audit import AuditEntry
from proxy.rollout.auth import Authorizer
from proxy.rollout.buckets import salt_of
from proxy.rollout.control import Control
from proxy.rollout.controller import Controller
from proxy.rollout.evidence import Evidence, SuspectFinding
from proxy.rollout.evidence_collector import collect_evidence
from proxy.rollout.group_state import ALL, GroupState, States
from proxy.rollout.metrics import RolloutMetrics
from proxy.rollout.notifications import notice_of, notice_of_finding
from proxy.rollout.notifier import Notifier
from proxy.rollout.peers import PeerSync
from proxy.rollout.replica import Replica
from proxy.rollout.switch import Switch

logger = logging.getLogger(__name__)

RESTART_S = 1.0
CATCH_UP_S = 1.5


class RolloutService:
    """State, control and neighbours of one proxy process.

    Args:
        settings: all of config.yaml.
        serve: told who is to serve, whenever that may have changed: the states, and whether the switch is on.

    Raises:
        SettingsError: peers that could not let each other in.
    """

    def __init__(self, settings: Settings, serve: Callable[[States, bool], None]) -> None:
        rollout = with_files(settings)
        self.settings = settings
        self.switch = Switch(Path(settings.serve.state_file), Path(settings.serve.sentinel_file))
        self.replica = Replica(rollout, groups_of(rollout), settings.databases.store)
        self.authorizer = Authorizer(rollout.access, settings.admin.token, now=time.monotonic)
        token = settings.admin.token or rollout.access.break_glass_token
        if rollout.peers and not token and not self.authorizer.unrestricted:
            raise SettingsError(
                "peers need admin.token or a break_glass_token to reach each other - at `$.rollout.peers`"
            )
        scheme = "https" if settings.admin.tls else "http"
        self.peers = PeerSync(rollout.peers, self.replica, token=token, scheme=scheme)
        self.notifier = Notifier(rollout.outgoing)
        self._serve = serve
        salt = salt_of(settings.serve.salt).hex()[:16]
        self.control = Control(self.switch, self.replica, salt=salt, serve=self._changed, announce=self._announce)
        self.controller = Controller(self.control, self._measure, lead=self.replica.is_leader, found=self._found)
        self.metrics = RolloutMetrics(self.replica, lambda: self.controller.latest, lambda: self.notifier.dropped)

    def start(self) -> None:
        """Take what this machine knows about who serves.

        Raises:
            SettingsError: clients would change sides by `serve.salt`.
        """
        self.control.start()

    async def run(self) -> None:
        """Keep states equal everywhere, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for name, work in self._parts():
                group.create_task(_kept_up(name, work), name=f"rollout-{name}")

    def _parts(self) -> Iterable[tuple[str, Callable[[], Awaitable[None]]]]:
        yield "replica", self.replica.run
        if self.replica.settings.peers:
            yield "peers", self.peers.run
        if self.replica.settings.enabled:
            yield "controller", self.controller.run
        yield "teller", self.notifier.run

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Run for the life of the block, which begins when the others were asked what happened meanwhile."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self.run(), name="rollout")
            try:
                await self._caught_up()
                yield
            finally:
                task.cancel()
                self.replica.close()

    async def _caught_up(self) -> None:
        """Learn of a rollback that this process missed before it serves anybody; what is down is not waited for long."""
        try:
            async with asyncio.timeout(CATCH_UP_S), asyncio.TaskGroup() as group:
                group.create_task(self.replica.wait_for_first_sync(), name="rollout-first-sync")
                group.create_task(self.peers.exchange_once(), name="rollout-first-exchange")
        except TimeoutError:
            logger.warning("rollout_not_caught_up", extra={"connected": self.replica.connected})

    def mount(self, app: web.Application) -> None:
        """Add the rollout's routes to the admin application."""
        endpoints.mount(app, endpoints.ApiContext(self.control, self.authorizer, self.overview, self._readiness))

    def overview(self) -> dict[str, Any]:
        """What GET /rollout and /status show."""
        rollout = self.replica.settings
        return {
            "enabled": rollout.enabled,
            "auto_promote": rollout.auto_promote,
            "stored": bool(self.settings.databases.store) and self.replica.connected,
            "pending": len(self.replica.pending),
            "groups": [
                {
                    "gates": self._latest(name),
                    **msgspec.to_builtins(state),
                    "percent": _percent(rollout, state),
                    "steps": [step.percent for step in steps_of(rollout, name)],
                }
                for name, state in self.replica.configured.items()
            ],
        }

    def _latest(self, group: str) -> dict[str, Any] | None:
        found = self.controller.latest.get(group)
        return {"at": found.at.isoformat(), **found.snapshot()} if found else None

    def _changed(self) -> None:
        self._serve(self.replica.states, self.switch.rolled_back)
        self.peers.wake()

    def _announce(self, entry: AuditEntry) -> None:
        message = notice_of(entry)
        if message is not None:
            self.notifier.notify(message)

    def _found(self, group: str, suspect: SuspectFinding) -> None:
        self.notifier.notify(notice_of_finding(group, suspect, self.control.now.isoformat()))

    async def _measure(self, state: GroupState, now: datetime) -> Evidence:
        return await collect_evidence(self.settings, state, now=now)

    async def _readiness(self) -> dict[str, Any]:
        return {"rolled_back": self.switch.rolled_back, **await readiness.assess_impact(self.settings)}


def _percent(rollout: RolloutSettings, state: GroupState) -> float:
    """What the candidate is to serve at this step; 0 while rolled back."""
    steps = steps_of(rollout, state.group)
    return 0.0 if state.phase.latched else steps[min(state.step, len(steps) - 1)].percent


async def _kept_up(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Begin again what failed: whatever is wrong with the rollout, clients are served."""
    while True:
        try:
            await work()
        except Exception:
            logger.exception("rollout_part_failed", extra={"part": name})
        await asyncio.sleep(RESTART_S)


def groups_of(rollout: RolloutSettings) -> tuple[str, ...]:
    """All groups, that of the remaining routes first."""
    return (ALL, *(group.name for group in rollout.groups))


def with_files(settings: Settings) -> RolloutSettings:
    """The section with its files named: beside the switch's state file where it does not say."""
    rollout, beside = settings.rollout, Path(settings.serve.state_file)
    return msgspec.structs.replace(
        rollout,
        state_file=rollout.state_file or str(beside.with_name("rollout.json")),
        audit_file=rollout.audit_file or str(beside.with_name("rollout-audit.ndjson")),
    )
