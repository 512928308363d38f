"""Ports of 127.0.0.1 for processes that are started later.

A port that the kernel chose (bind to 0) can be taken again before the process that it was chosen for listens on it: by an outgoing connection, or
by another process that asks the kernel. So ports are chosen outside the range from which the kernel chooses, and each process chooses from a block
of its own, which it holds by a lock until it ends.
"""

import fcntl
import os
import socket
import tempfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from proxy.private_file import open_private

FIRST, LAST = 10_000, 65_535
BLOCK = 400
_EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


class PortBlock:
    """The ports of one block, handed out in turn; other processes that use this module have other blocks."""

    def __init__(self, ports: range, lock: BinaryIO) -> None:
        self.ports = ports
        self.process = os.getpid()
        self._lock = lock
        self._next = ports.start

    def take(self, count: int) -> list[int]:
        """Return `count` consecutive ports that no process listens on.

        Raises:
            OSError: so many in a row are not free in this block.
        """
        for _ in self.ports:
            if self._next + count > self.ports.stop:
                self._next = self.ports.start
            chosen = range(self._next, self._next + count)
            taken = [port for port in chosen if not _is_free(port)]
            self._next = taken[-1] + 1 if taken else chosen.stop
            if not taken:
                return list(chosen)
        raise OSError(f"no {count} free ports in a row in {self.ports.start}-{self.ports.stop - 1}")


_block: PortBlock | None = None


def free_ports(count: int) -> list[int]:
    """Return `count` consecutive ports that no process listens on, and that this process has not handed out lately.

    Raises:
        OSError: all blocks are held by other processes, or no port is free.
    """
    global _block  # noqa: PLW0603
    if _block is None or _block.process != os.getpid():
        _block = _held_block()
    return _block.take(count)


def free_port() -> int:
    """Return one port as `free_ports` does."""
    return free_ports(1)[0]


def port_blocks(ephemeral: range) -> Iterator[range]:
    """Yield the blocks of ports outside the range from which the kernel chooses; inside it when nothing is outside."""
    outside = (range(FIRST, min(ephemeral.start, LAST + 1)), range(max(ephemeral.stop, FIRST), LAST + 1))
    starts = list(chain.from_iterable(range(ports.start, ports.stop - BLOCK + 1, BLOCK) for ports in outside))
    for start in starts or range(FIRST, LAST - BLOCK + 2, BLOCK):
        yield range(start, start + BLOCK)


def _held_block() -> PortBlock:
    folder = Path(tempfile.gettempdir()) / f"shadow-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    for ports in port_blocks(_ephemeral_range()):
        lock = open_private(folder / str(ports.start))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        return PortBlock(ports, lock)
    raise OSError(f"other processes hold all blocks of ports (locks in {folder})")


def _ephemeral_range() -> range:
    try:
        low, high = (int(bound) for bound in _EPHEMERAL_RANGE.read_text().split())
    except FileNotFoundError:
        return range(49_152, LAST + 1)  # RFC 6335, section 6, and systems without /proc
    return range(low, high + 1)


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
