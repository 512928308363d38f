"""The open connections of clients and the requests in flight: their deadlines, and the drain."""

import asyncio
from typing import Protocol

from proxy.serving.event_wait import wait_for_event


class InFlightRequest(Protocol):
    """A request being served. `deadline` is a time of the event loop's clock."""

    deadline: float

    def expire(self, now: float) -> None:
        """End the request: its deadline is over."""
        ...


class OpenConnection(Protocol):
    """A client's connection. `deadline` is a time of the event loop's clock."""

    deadline: float

    def drain(self) -> None:
        """Close the connection if it is unused."""
        ...

    def abort(self) -> None:
        """Close the connection at once."""
        ...

    def expire(self, now: float) -> None:
        """End the present state of the connection: its deadline is over."""
        ...


class ConnectionRegistry:
    """All clients' connections and requests in flight of one process. Lives on the event loop.

    Deadlines are attributes that are looked at a few times a second, which costs a request less than a timer of the loop.

    Attributes:
        clients: open connections; a connection adds itself, and is removed by `client_closed`.
        requests: requests in flight, which add and discard themselves.
        draining: whether the process is stopping: responses say Connection: close.
    """

    def __init__(self) -> None:
        self.clients: set[OpenConnection] = set()
        self.requests: set[InFlightRequest] = set()
        self.draining = False
        self._idle = asyncio.Event()

    def client_closed(self, client: OpenConnection) -> None:
        """Remove a client's connection."""
        self.clients.discard(client)
        if self.draining:
            self._note_idle()

    def sweep(self, now: float) -> None:
        """Expire what is past its deadline."""
        for request in [request for request in self.requests if request.deadline <= now]:
            request.expire(now)
        for client in [client for client in self.clients if client.deadline <= now]:
            client.expire(now)

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
