"""Accept connections to the control port with descriptors that are kept for it alone.

When thousands of clients connect at once, the event loop accepts them until no descriptor is left, before it can refuse the first. An
operator who rolls back then must not be refused with them. So some descriptors are held open on nothing, and one is given up for each
connection to the control port that finds no other:

    free descriptors  0    spares 16    accept -> EMFILE -> close a spare -> accept -> 15 spares, until descriptors are free again
"""

import asyncio
import contextlib
import errno
import os
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Final

SPARES: Final = 16
ACCEPTED_AT_ONCE: Final = 32
BACKLOG: Final = 100
REFILL_S: Final = 0.5
EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE)


class ReservedListener:
    """Accepts connections on listening sockets.

    Args:
        sockets: bound ones, which listen from now on; they are closed with it.
        connection: makes the protocol of a new connection.
        tls: certificate to serve HTTPS with.
        handshake_s: time for a handshake.
        group: for the tasks that take connections into use.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        connection: Callable[[], asyncio.Protocol],
        *,
        tls: ssl.SSLContext | None,
        handshake_s: float | None,
        group: asyncio.TaskGroup,
    ) -> None:
        self.sockets = tuple(sockets)
        self._connection = connection
        self._tls = tls
        self._handshake_s = handshake_s
        self._group = group
        self._loop = asyncio.get_running_loop()
        self._spares: list[int] = []
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._refill()
        for listening in self.sockets:
            listening.setblocking(False)
            listening.listen(BACKLOG)
            self._loop.add_reader(listening, self._accept, listening)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.sockets[0].getsockname()[1])

    def close(self) -> None:
        """Accept no more connections. Idempotent."""
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for listening in self.sockets:
            self._loop.remove_reader(listening)
            listening.close()
        while self._spares:
            os.close(self._spares.pop())

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                accepted, _ = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in EXHAUSTED:
                    raise
                if not self._spares:
                    self._pause(listening)
                    return
                # (nothing else of this thread can take it before the next line accepts)
                os.close(self._spares.pop())
                self._refill_later()
                continue
            accepted.setblocking(False)
            self._group.create_task(self._take(accepted), name="admin-connection")

    async def _take(self, accepted: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(
                self._connection, accepted, ssl=self._tls, ssl_handshake_timeout=self._handshake_s
            )
        except (TimeoutError, OSError, ssl.SSLError):
            accepted.close()

    def _pause(self, listening: socket.socket) -> None:
        """Leave connections in the backlog for a moment: without a descriptor nothing can be done for them."""
        self._loop.remove_reader(listening)

        def go_on() -> None:
            if not self._closed:
                self._loop.add_reader(listening, self._accept, listening)

        self._loop.call_later(REFILL_S, go_on)

    def _refill(self) -> None:
        self._timer = None
        with contextlib.suppress(OSError):
            while len(self._spares) < SPARES:
                self._spares.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        if len(self._spares) < SPARES:
            self._refill_later()

    def _refill_later(self) -> None:
        if self._timer is None and not self._closed:
            self._timer = self._loop.call_later(REFILL_S, self._refill)


def listening_sockets(host: str, port: int) -> list[socket.socket]:
    """Return a listening socket for each address of a host.

    Raises:
        OSError: the port is in use, or the host has no address here.
    """
    sockets: list[socket.socket] = []
    try:
        for family, _, _, _, address in dict.fromkeys(
            socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        ):
            sockets.append(socket.create_server(address, family=family, backlog=BACKLOG))
    except OSError:
        for opened in sockets:
            opened.close()
        raise
    return sockets
