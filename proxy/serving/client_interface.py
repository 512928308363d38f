"""What a forwarding needs of the connection of the client it serves."""

from typing import Protocol

from proxy.http1.forwarding_headers import ClientAddress


class ClientInterface(Protocol):
    """What a forwarding needs of the client's connection."""

    who: ClientAddress

    def write(self, data: bytes) -> None:
        """Send to the client."""
        ...

    def pause(self) -> None:
        """Read no more of the request for now."""
        ...

    def resume(self) -> None:
        """Read on."""
        ...

    def done(self, *, keep_alive: bool) -> None:
        """The response is complete; the next request may come, or the connection is closed."""
        ...

    def upgraded(self) -> None:
        """The connection is a tunnel from now on."""
        ...

    def abort(self) -> None:
        """The response cannot be completed: the client must see that it is cut."""
        ...
