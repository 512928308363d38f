"""A proxy with its journal, a runner and a web UI; disk and runner can be made to fail."""

import re
import sys
import time
import urllib.request
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from resource import RLIM_INFINITY, RLIMIT_FSIZE
from types import TracebackType
from typing import Self

import psutil

from bench.proxy.processes import Command, ProcessGroup
from proxy.demo.free_ports import free_ports

ROOT = Path(__file__).resolve().parents[2]
IDLE_TIMEOUT_S = 10.0
_SAMPLE = re.compile(r"^(shadow_\w+?)(?:\{[^}]*\})? (\S+)$", re.MULTILINE)


def config(directory: Path, ports: tuple[int, int, int, int], backend: int, mirror: int) -> str:
    """Return config.yaml. The timeout of a mirrored request is shorter than a slice.

    Args:
        directory: for files.
        ports: of the proxy for clients, its admin port, the runner's admin port, and the web UI's port.
        backend: port of the served side.
        mirror: port of the mirrored side.
    """
    clients, admin, runner, ui = ports
    live, shadow = (f"{{url: 'http://127.0.0.1:{port}'}}" for port in (backend, mirror))
    return f"""
listen: {{port: {clients}}}
admin: {{port: {admin}}}
backends:
  candidate: {{live: {live}, shadow: {shadow}}}
  legacy: {{live: {live}, shadow: {shadow}}}
routes: [{{name: score, path: '/v2/stamps/{{id}}/score/{{address}}', key: address}}]
serve: {{state_file: {directory}/switch, sentinel_file: {directory}/stop}}
journal: {{directory: {directory}/journal, retention: {{size_max_bytes: 67108864, disk_max_bytes: 134217728}}}}
capture: {{driver: "off"}}
runner: {{port: {runner}, timeout_s: 0.5, queue_max: 1000}}
ui: {{port: {ui}}}
"""


class Installation:
    """A running proxy, runner and web UI. Use as a context manager.

    Args:
        directory: for its files.
        backend: port of the served side.
        mirror: port of the mirrored side.
    """

    def __init__(self, directory: Path, *, backend: int, mirror: int) -> None:
        ports = free_ports(4)
        self.port, self.admin_port, self._runner_port, self.ui_port = ports
        self._log = directory / "log"
        self._path = directory / "config.yaml"
        self._path.write_text(config(directory, (ports[0], ports[1], ports[2], ports[3]), backend, mirror))
        self._stack = ExitStack()
        self._proxy = ProcessGroup([self._command("proxy")], self._log)
        self._ui = ProcessGroup([self._command("ui")], self._log)
        self._runner: ProcessGroup | None = None

    def __enter__(self) -> Self:
        self._stack.enter_context(self._proxy)
        self._proxy.wait_for(self.port)
        self.start_runner()
        self._stack.enter_context(self._ui)
        self._ui.wait_for(self.ui_port)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill_runner()
        self._stack.close()

    def _command(self, name: str) -> Command:
        arguments = [sys.executable, "-m", "proxy", name, "--config", str(self._path)]
        return Command(arguments, {"SHADOW_LOG_LEVEL": "CRITICAL", "PYTHONPATH": str(ROOT)}, ROOT)

    def serving(self) -> list[int]:
        """Return the processes that clients wait for."""
        return self._proxy.pids()

    def start_runner(self) -> None:
        """Start the runner, and wait until its admin port responds."""
        self._runner = ProcessGroup([self._command("runner")], self._log)
        self._runner.__enter__()
        self._runner.wait_for(self._runner_port)

    def kill_runner(self) -> None:
        """Kill the runner."""
        runner, self._runner = self._runner, None
        if runner is not None:
            for pid in runner.pids():
                psutil.Process(pid).kill()
            runner.__exit__(None, None, None)

    def fill_disk(self, *, full: bool) -> None:
        """Forbid the proxy to make files grow, as a full disk does, or allow it again."""
        [pid, *_] = self._proxy.pids()
        limit = 0 if full else RLIM_INFINITY
        psutil.Process(pid).rlimit(RLIMIT_FSIZE, (limit, RLIM_INFINITY))

    def wait_until_idle(self) -> None:
        """Wait until the runner has no work left, for `IDLE_TIMEOUT_S` at most."""
        deadline = time.monotonic() + IDLE_TIMEOUT_S
        while time.monotonic() < deadline:
            if self._runner is None or self._sums(self._runner_port)["shadow_in_flight"] == 0:
                return
            time.sleep(0.1)

    def account(self) -> tuple[int, int, int]:
        """Return exchanges served, copies dropped, and served exchanges that are in no count (0)."""
        sums = self._sums(self.admin_port)
        dropped = sums["shadow_journal_dropped_total"]
        counted = (
            sums["shadow_journal_written_total"]
            + sums["shadow_journal_queued"]
            + dropped
            + sums["shadow_skipped_total"]
        )
        return int(sums["shadow_served_total"]), int(dropped), int(sums["shadow_served_total"] - counted)

    def _sums(self, port: int) -> Counter[str]:
        """Return the metrics of a process, summed over their labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
            text = response.read().decode()
        sums: Counter[str] = Counter()
        for name, value in _SAMPLE.findall(text):
            sums[name] += float(value)  # type: ignore[assignment]
        return sums
