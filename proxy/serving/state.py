"""The parts that all connections of one proxy process share, each with its own section of the settings.

connections     open clients' connections, requests in flight, their deadlines, the drain
request_parser  heads of requests, by the head cache
routes          compiled templates, in the order of config.yaml
keys            requests in flight by ordering key
sides           the traffic split and the choice of the side
failover        health of both sides
backends        pools of connections to the live instances
identifiers     request ids, span ids, Date
recorder        accounting and the journal
"""

import asyncio

from proxy.config.settings import Settings
from proxy.http1.head_cache import CachedRequestParser
from proxy.journal.driver import JournalWriter
from proxy.rollout.group_state import States
from proxy.serving.backend_pool import BackendPools
from proxy.serving.connection_registry import ConnectionRegistry
from proxy.serving.descriptors import budget_of, present_limit
from proxy.serving.exchange_recorder import ExchangeRecorder
from proxy.serving.failover import Failover
from proxy.serving.identifiers import Identifiers
from proxy.serving.key_tracker import KeyTracker
from proxy.serving.metrics import ProxyMetrics
from proxy.serving.mirror_rate_limits import MirrorRateLimits
from proxy.serving.routing import compile_routes
from proxy.serving.side_selection import SideSelector
from proxy.serving.trust import TrustPolicy


class ServingState:
    """The shared parts of one process. Lives on the event loop; nothing here waits.

    Args:
        settings: of config.yaml, distributed to the parts.
        group: runs the connecting to backends; lives as long as the process.
        journal: None when it is disabled.
        metrics: of the process.
        rolled_back: whether the on-call switch is on.
        states: of the rollout's groups.

    Attributes:
        now: the clock of the event loop, in seconds.
        limits: section `limits:`.
        body_copy_max_bytes: bytes of a body that are journaled.
        descriptors: what fits into the file descriptors of the process.
    """

    def __init__(
        self,
        settings: Settings,
        group: asyncio.TaskGroup,
        *,
        journal: JournalWriter | None,
        metrics: ProxyMetrics,
        rolled_back: bool = False,
        states: States | None = None,
    ) -> None:
        # (asking for the running loop each time costs a system call in CPython 3.11)
        self.now = asyncio.get_running_loop().time
        self.metrics = metrics
        self.connections = ConnectionRegistry()
        self.request_parser = CachedRequestParser()
        self.keys = KeyTracker()
        self.failover = Failover(metrics)
        self.backends = BackendPools(group)
        self.identifiers = Identifiers()
        self.recorder = ExchangeRecorder(journal, metrics)
        self.sides = SideSelector(states or {}, rolled_back=rolled_back)
        self.apply(settings)

    def apply(self, settings: Settings) -> None:
        """Put settings in force, at start and on reload. Requests in flight end as they began.

        Raises:
            SettingsError: a route is wrong; nothing has changed then.
        """
        self.routes = compile_routes(settings.routes)
        self.limits = settings.limits
        self.descriptors = budget_of(settings, present_limit())
        self.connections.apply(settings.limits, fitting=self.descriptors.fitting)
        self.body_copy_max_bytes = settings.journal.body_max_bytes
        self.trust = TrustPolicy(settings.listen)
        self.sides.apply(settings.serve, settings.rollout, self.trust)
        self.backends.apply(settings.backends)
        self.failover.apply(settings.backends, enabled=settings.serve.fall_back)
        route_limits = {route.name: route.mirror_per_s_max for route in settings.routes}
        rate_limits = MirrorRateLimits(
            settings.mirroring, route_limits, workers=settings.listen.workers, now=self.now()
        )
        self.recorder.apply(rate_limits if rate_limits.limiting else None)

    def sweep(self, now: float) -> None:
        """Expire what is past its deadline and evaluate the backends' health; called a few times a second."""
        self.connections.sweep(now)
        self.backends.sweep(now)
        self.failover.evaluate(now)

    @property
    def head_lookups(self) -> dict[str, tuple[int, int]]:
        """Hits and misses of the head cache, by kind of message."""
        return {
            "request": (self.request_parser.hits, self.request_parser.misses),
            "response": self.backends.head_lookups,
        }
