"""What a supervising parent hands to a worker: listening sockets, a page for its vital signs, a pipe to say that it serves.

File descriptors keep their numbers over the start of a process, so a word on the command line names them.
"""

import contextlib
import mmap
import os
import socket
import struct
import tempfile
from dataclasses import astuple, dataclass
from pathlib import Path

from proxy.config.listen import AdminSettings, ListenSettings

BACKLOG = 2048
_SIGNS = struct.Struct("=QQ")


@dataclass(frozen=True, slots=True)
class InheritedFds:
    """File descriptors."""

    clients: int
    admin: int
    vitals: int
    ready: int

    @property
    def fds(self) -> tuple[int, ...]:
        """All of them."""
        return astuple(self)

    def to_argument(self) -> str:
        """For a command line."""
        return ",".join(map(str, self.fds))

    @classmethod
    def of(cls, word: str) -> "InheritedFds":
        """From a command line."""
        return cls(*map(int, word.split(",")))

    def notify_ready(self) -> None:
        """The worker serves. Nobody may be waiting for that."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self.ready, b"1")
        os.close(self.ready)


@dataclass(frozen=True, slots=True)
class ListenSockets:
    """What one worker listens on."""

    clients: socket.socket
    admin: socket.socket

    def close(self) -> None:
        """Listen no more, as far as this process is concerned."""
        self.clients.close()
        self.admin.close()


class WorkerStats:
    """Two counts that outlive a process: requests in flight, and copies that wait for the disk. One writes, one reads."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._page = mmap.mmap(fd, mmap.PAGESIZE)

    @classmethod
    def new(cls) -> "WorkerStats":
        """A page that has no name and goes with the last process that holds it."""
        with tempfile.TemporaryFile() as file:
            os.truncate(file.fileno(), mmap.PAGESIZE)
            return cls(os.dup(file.fileno()))

    def close(self) -> None:
        """Let go of the page."""
        self._page.close()
        os.close(self.fd)

    def write(self, in_flight: int, queued: int) -> None:
        """Say how many there are now."""
        _SIGNS.pack_into(self._page, 0, max(in_flight, 0), max(queued, 0))

    def read(self) -> tuple[int, int]:
        """How many there were at last."""
        in_flight, queued = _SIGNS.unpack_from(self._page)
        return in_flight, queued


def open_sockets(listen: ListenSettings, admin: AdminSettings) -> list[ListenSockets]:
    """Listen for each of several workers. All workers share one unix socket; of a port each has its own queue.

    Raises:
        OSError: a port is taken.
    """
    found: list[ListenSockets] = []
    shared = _unix(listen.unix) if listen.unix else None
    try:
        for number in range(listen.workers):
            clients = shared.dup() if shared is not None else _tcp(listen.host, listen.port, shared=True)
            port = admin.port + number if admin.port else 0
            found.append(ListenSockets(clients, _tcp(admin.host, port, shared=False)))
    except OSError:
        for sockets in found:
            sockets.close()
        raise
    finally:
        if shared is not None:
            shared.close()
    return found


def _tcp(host: str, port: int, *, shared: bool) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    made = socket.create_server(address[:2], family=family, backlog=BACKLOG, reuse_port=shared)
    made.setblocking(False)
    return made


def _unix(path: str) -> socket.socket:
    if Path(path).is_socket():
        # Nobody can listen on it any more: what a process leaves behind that was killed.
        Path(path).unlink()
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.bind(path)
        made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    made.setblocking(False)
    return made
