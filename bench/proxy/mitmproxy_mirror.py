"""An add-on of mitmproxy that sends a copy of each request to a second backend, with mitmproxy's own replay.

Runs in mitmproxy's environment: it imports nothing of this repository.
"""

import os

from mitmproxy import ctx  # pyright: ignore[reportMissingImports] (not of our environment)

MIRROR_PORT = int(os.environ["MIRROR_PORT"])


def request(flow):
    """Replay every request that came from a client."""
    if flow.is_replay == "request":
        return
    copy = flow.copy()
    copy.request.host = "127.0.0.1"
    copy.request.port = MIRROR_PORT
    ctx.master.commands.call("replay.client", [copy])
