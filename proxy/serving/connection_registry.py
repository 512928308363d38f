"""The open connections of clients and the requests in flight: their number, their deadlines, and the drain."""

import asyncio
from collections import OrderedDict
from typing import Protocol

from proxy.config.limits import LimitSettings
from proxy.serving.descriptors import REFUSALS
from proxy.serving.event_wait import wait_for_event

EVICTED_AFTER_S = 1.0
"""Time for which a connection must have been unused to be closed for another one: a new one's request is on its way."""
SEARCHED_EVERY_S = 0.1
"""Time between two searches for unused connections: a flood of new connections must not make each of them a search."""
SWEPT_EVERY_S = 1.0
ADDRESSES_SEARCHED_MAX = 1_000


class InFlightRequest(Protocol):
    """A request being served. `deadline` is a time of the event loop's clock."""

    deadline: float

    @property
    def started_ns(self) -> int:
        """Unix time at which its head was read."""
        ...

    def expire(self, now: float) -> None:
        """End the request: its deadline is over."""
        ...


class OpenConnection(Protocol):
    """A client's connection. `deadline` is a time of the event loop's clock."""

    deadline: float

    @property
    def unused(self) -> bool:
        """True while it waits for a request, of which no byte has come."""
        ...

    def drain(self) -> None:
        """Close the connection if it is unused."""
        ...

    def abort(self) -> None:
        """Close the connection at once."""
        ...

    def close(self) -> None:
        """Close the connection after what was written is sent."""
        ...

    def expire(self, now: float) -> None:
        """End the present state of the connection: its deadline is over."""
        ...


class ConnectionRegistry:
    """All clients' connections and requests in flight of one process. Lives on the event loop.

    Deadlines are attributes that are looked at a few times a second, which costs a request less than a timer of the loop. The deadline
    of an unused connection tells for how long it has been unused, too; so no request pays for the eviction of the one that was unused
    for longest.

    Attributes:
        clients: open connections; `opened` adds one, and `client_closed` removes it.
        requests: requests in flight, which add and discard themselves.
        draining: whether the process is stopping: responses say Connection: close.
        evicted: unused connections that were closed to make room.
    """

    def __init__(self) -> None:
        self.clients: set[OpenConnection] = set()
        self.requests: set[InFlightRequest] = set()
        self.draining = False
        self.evicted = 0
        self._idle = asyncio.Event()
        self._by_address: dict[str, set[OpenConnection]] = {}
        self._addresses: dict[OpenConnection, str] = {}
        self._refused: OrderedDict[OpenConnection, None] = OrderedDict()
        self._unused: dict[str | None, tuple[float, list[tuple[float, OpenConnection]]]] = {}
        """For an address, or for all (None): time of the last search, and what it found, the one unused for longest at the end."""
        self._swept_at = 0.0
        self._clients_max = self._per_address_max = self._unused_per_address_max = 1
        self._idle_s = 0.0

    def apply(self, limits: LimitSettings, *, fitting: int) -> None:
        """Put limits in force; open connections stay.

        Args:
            limits: section `limits:`.
            fitting: connections for which there are descriptors.
        """
        self._clients_max = min(limits.connections_max, fitting)
        # (one address never has all that fit)
        self._per_address_max = min(limits.connections_per_address_max, max(1, self._clients_max * 3 // 4))
        self._unused_per_address_max = min(limits.unused_per_address_max, self._per_address_max)
        self._idle_s = limits.idle_s

    def opened(self, client: OpenConnection, address: str, *, now: float) -> bool:
        """Add a client's connection; return False if it is to be refused, because no other one can be closed for it.

        Args:
            client: the connection.
            address: counted for the limits of one address; "" for none, as for load balancers.
            now: time of the event loop.
        """
        self.clients.add(client)
        if address:
            own = self._by_address.setdefault(address, set())
            own.add(client)
            self._addresses[client] = address
            if len(own) > self._per_address_max and not self._evict(address, now):
                return False
        over = len(self.clients) - len(self._refused) > self._clients_max
        return not over or self._evict(None, now)

    def refused(self, client: OpenConnection) -> None:
        """Note a connection that is being refused: it may take a moment, but few may at a time."""
        self._refused[client] = None
        if len(self._refused) > REFUSALS:
            oldest, _ = self._refused.popitem(last=False)
            oldest.close()

    def client_closed(self, client: OpenConnection) -> None:
        """Remove a client's connection."""
        self.clients.discard(client)
        self._refused.pop(client, None)
        address = self._addresses.pop(client, None)
        if address is not None:
            own = self._by_address[address]
            own.discard(client)
            if not own:
                del self._by_address[address]
        if self.draining:
            self._note_idle()

    def sweep(self, now: float) -> None:
        """Expire what is past its deadline."""
        for request in [request for request in self.requests if request.deadline <= now]:
            request.expire(now)
        for client in [client for client in self.clients if client.deadline <= now]:
            client.expire(now)
        if now - self._swept_at >= SWEPT_EVERY_S:
            self._swept_at = now
            self._limit_unused(now)

    def _limit_unused(self, now: float) -> None:
        """Close the unused connections of an address beyond its limit, the one that was unused for longest first."""
        limit = self._unused_per_address_max
        for own in [own for own in self._by_address.values() if len(own) > limit]:
            unused = self._search(own, now)
            for _, client in unused[limit:]:
                self._close_unused(client)

    def _search(self, clients: set[OpenConnection], now: float) -> list[tuple[float, OpenConnection]]:
        """Return the connections that have been unused for EVICTED_AFTER_S, with their deadlines, the longest unused one last."""
        # (the deadline of an unused connection is `idle_s` after its last response)
        latest = now + self._idle_s - EVICTED_AFTER_S
        unused = [(client.deadline, client) for client in clients if client.deadline <= latest and client.unused]
        unused.sort(key=lambda found: found[0], reverse=True)
        return unused

    def _evict(self, address: str | None, now: float) -> bool:
        """Close the connection that was unused for longest, of one address or of all; return False if none can be closed."""
        searched_at, unused = self._unused.get(address, (float("-inf"), []))
        while True:
            while unused:
                deadline, client = unused.pop()
                if client in self.clients and client.unused and client.deadline == deadline:
                    self._close_unused(client)
                    return True
            if now - searched_at < SEARCHED_EVERY_S:
                return False
            searched_at = now
            unused = self._search(self.clients if address is None else self._by_address[address], now)
            if len(self._unused) > ADDRESSES_SEARCHED_MAX:
                self._unused.clear()
            self._unused[address] = (now, unused)

    def _close_unused(self, client: OpenConnection) -> None:
        self.evicted += 1
        client.drain()
        # (its place is free at once; the transport reports the end only in the next turn of the loop)
        self.client_closed(client)

    async def drain(self, *, drain_s: float, unused_s: float) -> bool:
        """Wait until every connection is closed.

        An unused connection is left open at first: its client may be sending a request just now, which is answered with
        Connection: close. If the connection were closed at once, a reset would lose that request.

        Args:
            drain_s: how long to wait in all.
            unused_s: how long unused connections are left open.

        Returns:
            Whether all were closed in time.
        """
        self.draining = True
        self._note_idle()
        unused_s = min(unused_s, drain_s)
        if await wait_for_event(self._idle, unused_s):
            return True
        for client in list(self.clients):
            client.drain()
        self._note_idle()
        return await wait_for_event(self._idle, drain_s - unused_s)

    def abort_all(self, now: float) -> None:
        """End every request and close every connection at once."""
        for request in list(self.requests):
            request.expire(now)
        for client in list(self.clients):
            client.abort()

    def _note_idle(self) -> None:
        if not self.clients and not self.requests:
            self._idle.set()
