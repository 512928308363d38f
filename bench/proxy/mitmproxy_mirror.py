"""An add-on for mitmproxy that sends a copy of each request to a second backend, with mitmproxy's own replay.

It runs in mitmproxy's environment, so it imports nothing of this repository.
"""

import os

from mitmproxy import ctx  # pyright: ignore[reportMissingImports] (not in our environment)

MIRROR_PORT = int(os.environ["MIRROR_PORT"])


def request(flow):
    """Replay every request of a client."""
    if flow.is_replay == "request":
        return
    copy = flow.copy()
    copy.request.host = "127.0.0.1"
    copy.request.port = MIRROR_PORT
    ctx.master.commands.call("replay.client", [copy])
