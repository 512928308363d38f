"""What all connections of one proxy process share: settings made ready, the plan in force, pools, the journal, what is in flight."""

import asyncio
import hmac
import os
import random
import time
from collections import Counter
from collections.abc import Callable
from email.utils import formatdate
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Protocol

from comparator.exchanges.model import Role, Side
from proxy.config.limits import LimitSettings
from proxy.config.settings import Settings
from proxy.http1.forwarding_headers import ClientAddress
from proxy.http1.head_cache import CachedRequestParser
from proxy.journal.driver import JournalWriter
from proxy.rollout.buckets import bucket_of, salt_of
from proxy.rollout.group_state import States
from proxy.rollout.traffic_split import Split, Splits, splits_of
from proxy.serving.backend_pool import BackendPool
from proxy.serving.failover import Failover
from proxy.serving.metrics import ProxyMetrics
from proxy.serving.rate_limits import MirrorRateLimits
from proxy.serving.routing import Route, compile_routes, sample_bucket

# (looking a member up in its enumeration, or hashing it, costs more than what is done with it here)
_CANDIDATE = Side.CANDIDATE


class InFlight(Protocol):
    """A request being served, as the sweep sees it."""

    deadline: float

    def expire(self, now: float) -> None:
        """Its time is up."""
        ...


class KeyedRequest(Protocol):
    """A request being served, as those with the same key see it."""

    key: str
    overlapped: bool


class OpenConnection(Protocol):
    """A client's connection, as the sweep and the drain see it."""

    deadline: float

    def drain(self) -> None:
        """Close if nothing is being served."""
        ...

    def abort(self) -> None:
        """Close at once."""
        ...

    def expire(self, now: float) -> None:
        """Its time is up."""
        ...


class ServingState:
    """One process's shared state. Lives on the event loop; nothing here waits.

    Args:
        settings: as loaded.
        group: runs the connecting to backends.
        journal: None when it is disabled.
        metrics: where everything is counted.
        rolled_back: the on-call switch's state at start.
        states: where each group's rollout stands at start.
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
        self.journal = journal
        self.metrics = metrics
        self.heads = CachedRequestParser()
        self.forwardings: set[InFlight] = set()
        self.clients: set[OpenConnection] = set()
        self.draining = False
        self.on_idle: Callable[[], None] | None = None
        self.captured: Counter[str] = Counter()
        """Exchanges that a route's capture rule took, by route."""
        self.now = asyncio.get_running_loop().time
        self.steering = Failover(metrics)
        self._group = group
        self._by_key: dict[str, list[KeyedRequest]] = {}
        self._counter = 0
        self._date, self._date_of = "", 0
        self._spans = 0
        self._process = os.urandom(8).hex()
        self._span = f"{random.getrandbits(32) or 1:08x}"
        self._rolled_back = rolled_back
        self._states: States = states or {}
        self._pools: dict[Side, BackendPool] = {}
        self.apply(settings)

    def apply(self, settings: Settings) -> None:
        """Take settings, at start and on reload: requests in flight end as they began."""
        routes = compile_routes(settings.routes)
        self.settings = settings
        self.limits: LimitSettings = settings.limits
        self.copy_max_bytes = settings.journal.body_max_bytes
        self.routes: tuple[Route, ...] = routes
        self._salt = salt_of(settings.serve.salt)
        self._networks = [ip_network(network) for network in settings.listen.trusted_networks]
        for side in Side:
            backend = settings.backends.of(side, Role.SERVED)
            kept = self._pools.get(side)
            if kept is not None and kept.settings == backend:
                continue
            if kept is not None:
                kept.close()
            self._pools[side] = BackendPool(backend, self._group)
        self._candidate, self._legacy = self._pools[Side.CANDIDATE], self._pools[Side.LEGACY]
        self.steering.apply(settings)
        limits = {route.name: route.mirror_per_s_max for route in settings.routes}
        rates = MirrorRateLimits(settings.mirroring, limits, workers=settings.listen.workers, now=self.now())
        self.rates: MirrorRateLimits | None = rates if rates.limiting else None
        self.set_rollout(self._states, self._rolled_back)

    def set_rollout(self, states: States, rolled_back: bool) -> None:
        """Who serves, from the next request on: by each group's step, unless the on-call switch is on."""
        self._states, self._rolled_back = states, rolled_back
        self.plans: Splits = splits_of(self.settings.serve, self.settings.rollout, states, rolled_back=rolled_back)

    @property
    def plan(self) -> Split:
        """The plan of the routes that are in no group of their own."""
        return self.plans.overall

    def pool(self, side: Side) -> BackendPool:
        """The live instance of a side."""
        return self._candidate if side is _CANDIDATE else self._legacy

    def trusts(self, address: str) -> bool:
        """Whether a client at this address may set forwarding and override headers; unix sockets are trusted."""
        if not address:
            return True
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        return any(_holds(network, address=parsed) for network in self._networks)

    def may_override(self, who: ClientAddress, named: dict[str, str]) -> bool:
        """Whether this client may choose the side: from a trusted network, or with the token."""
        expected = self.settings.listen.override_token
        if who.trusted or not expected:
            return who.trusted
        return hmac.compare_digest(named.get("x-shadow-token", "").encode(), expected.encode())

    @property
    def date(self) -> str:
        """The time as Date states it."""
        now = int(time.time())
        if now != self._date_of:
            self._date_of, self._date = now, formatdate(now, usegmt=True)
        return self._date

    def new_id(self) -> str:
        """An id of 32 hexadecimal digits, unique among all processes: for X-Request-Id, and for a trace that begins here."""
        self._counter += 1
        return f"{self._process}{self._counter:016x}"

    def new_span(self) -> str:
        """A span id (W3C trace context): unlike those of other processes, never zero."""
        self._spans = (self._spans + 1) & 0xFFFFFFFF
        return f"{self._span}{self._spans:08x}"

    def bucket(self, key: str) -> int:
        """The rollout's bucket of a key."""
        return bucket_of(key, self._salt)

    def sample_bucket(self, key: str) -> int:
        """The sampling's bucket of a key."""
        return sample_bucket(key, self._salt)

    def begin(self, request: KeyedRequest) -> None:
        """A request is in flight; mark it and the others with its key as overlapped."""
        key = request.key
        if not key:
            return
        others = self._by_key.get(key)
        if others is None:
            self._by_key[key] = [request]
            return
        request.overlapped = True
        for other in others:
            other.overlapped = True
        others.append(request)

    def end(self, request: KeyedRequest) -> None:
        """It is no longer in flight."""
        others = self._by_key.get(request.key)
        if others is None or request not in others:
            return
        if len(others) == 1:
            del self._by_key[request.key]
        else:
            others.remove(request)

    def sweep(self, now: float) -> None:
        """Look at all deadlines; called a few times a second instead of a timer for each request."""
        for forwarding in [one for one in self.forwardings if one.deadline <= now]:
            forwarding.expire(now)
        for client in [one for one in self.clients if one.deadline <= now]:
            client.expire(now)
        for pool in self._pools.values():
            pool.sweep(now)
        self.steering.tally(now)

    def close(self) -> None:
        """Keep no connection to backends."""
        for pool in self._pools.values():
            pool.close()

    @property
    def heads_read(self) -> dict[str, tuple[int, int]]:
        """Heads of requests and of responses: how many were recognised, and how many parsed."""
        responses = [pool.heads for pool in self._pools.values()]
        return {
            "request": (self.heads.hits, self.heads.misses),
            "response": (sum(heads.hits for heads in responses), sum(heads.misses for heads in responses)),
        }

    @property
    def backend_connections(self) -> dict[Side, int]:
        """Open connections by side."""
        return {side: pool.connections for side, pool in self._pools.items()}


def _holds(network: IPv4Network | IPv6Network, *, address: object) -> bool:
    return address in network  # type: ignore[operator]
