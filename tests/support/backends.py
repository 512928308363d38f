"""The section `backends` of a lab whose four instances run in this process, and an instance that is too busy to connect to."""

import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from comparator.exchanges.model import Side
from proxy.config.backends import BackendSettings, BackendsSettings, SideInstances

CONNECT_S = 60.0
"""On a busy machine this process may need seconds to accept a connection of its own."""


def backends_of(urls: Mapping[tuple[Side, str], str]) -> BackendsSettings:
    """Return the settings of four instances by their URLs, each under its side and `live` or `shadow`."""

    def instances(side: Side) -> SideInstances:
        live, shadow = (BackendSettings(url=urls[side, role], connect_s=CONNECT_S) for role in ("live", "shadow"))
        return SideInstances(live=live, shadow=shadow)

    return BackendsSettings(candidate=instances(Side.CANDIDATE), legacy=instances(Side.LEGACY))


@contextmanager
def full_listener() -> Iterator[tuple[str, int]]:
    """Yield the address of a listener whose queue is full: it does not even refuse a connection."""
    with socket.socket() as listener, ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(address)
        yield address
