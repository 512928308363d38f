"""The file descriptors that a supervisor passes to a worker: listening sockets, shared memory for statistics, a readiness pipe.

Inherited descriptors keep their numbers in the new process, so an argument of the command line names them: `7,8,9,10`.
"""

import contextlib
import mmap
import os
import socket
import struct
from dataclasses import astuple, dataclass
from pathlib import Path

from proxy.config.listen import AdminSettings, ListenSettings

BACKLOG = 2048
_COUNTS = struct.Struct("=QQ")


@dataclass(frozen=True, slots=True)
class InheritedFds:
    """Inherited file descriptors.

    Attributes:
        clients: listening socket for clients.
        admin: listening socket of the control port.
        stats: memory of `WorkerStats`.
        ready: end of a pipe; a byte in it says that the worker serves.
    """

    clients: int
    admin: int
    stats: int
    ready: int

    @property
    def fds(self) -> tuple[int, ...]:
        """The descriptors in the order of the attributes."""
        return astuple(self)

    def to_argument(self) -> str:
        """Format them for a command line."""
        return ",".join(map(str, self.fds))

    @classmethod
    def of(cls, argument: str) -> "InheritedFds":
        """Parse them from a command line."""
        return cls(*map(int, argument.split(",")))

    def notify_ready(self) -> None:
        """Tell the supervisor that the worker serves; it need not be waiting for that."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self.ready, b"1")
        os.close(self.ready)


@dataclass(frozen=True, slots=True)
class ListenSockets:
    """The listening sockets of one worker."""

    clients: socket.socket
    admin: socket.socket

    def close(self) -> None:
        """Close the sockets in this process."""
        self.clients.close()
        self.admin.close()


class WorkerStats:
    """Two counts in shared memory that outlive a crashed worker: requests in flight and exchanges queued for the journal.

    The worker writes them, the supervisor reads them.

    Args:
        fd: of a file of one page.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._page = mmap.mmap(fd, mmap.PAGESIZE)

    @classmethod
    def new(cls) -> "WorkerStats":
        """Create the memory, which is gone with the last process that has it open. It is on no disk, so that writing never waits for one."""
        fd = os.memfd_create("worker-stats")
        os.truncate(fd, mmap.PAGESIZE)
        return cls(fd)

    def close(self) -> None:
        """Unmap the memory."""
        self._page.close()
        os.close(self.fd)

    def write(self, in_flight: int, queued: int) -> None:
        """Write the present counts."""
        _COUNTS.pack_into(self._page, 0, max(in_flight, 0), max(queued, 0))

    def read(self) -> tuple[int, int]:
        """Read the last counts: requests in flight, exchanges queued."""
        in_flight, queued = _COUNTS.unpack_from(self._page)
        return in_flight, queued


def open_sockets(listen: ListenSettings, admin: AdminSettings) -> list[ListenSockets]:
    """Open the sockets of all workers. They share one unix socket; of a TCP port each has a socket with a queue of its own.

    Raises:
        OSError: a port is taken.
    """
    result: list[ListenSockets] = []
    shared = _unix(listen.unix) if listen.unix else None
    try:
        for number in range(listen.workers):
            clients = shared.dup() if shared is not None else _tcp(listen.host, listen.port, shared=True)
            port = admin.port + number if admin.port else 0
            result.append(ListenSockets(clients, _tcp(admin.host, port, shared=False)))
    except OSError:
        for sockets in result:
            sockets.close()
        raise
    finally:
        if shared is not None:
            shared.close()
    return result


def _tcp(host: str, port: int, *, shared: bool) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    listener = socket.create_server(address[:2], family=family, backlog=BACKLOG, reuse_port=shared)
    listener.setblocking(False)
    return listener


def _unix(path: str) -> socket.socket:
    if Path(path).is_socket():
        # Left behind by a process that was killed.
        Path(path).unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(path)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener
