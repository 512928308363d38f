"""What a forwarding needs of the connection of the caller it serves."""

from typing import Protocol

from proxy.http1.forwarding_headers import Caller


class CallerSide(Protocol):
    """What a forwarding needs of the caller's connection."""

    who: Caller

    def write(self, data: bytes) -> None:
        """Send to the caller."""
        ...

    def pause(self) -> None:
        """Read no more of the request for now."""
        ...

    def resume(self) -> None:
        """Read on."""
        ...

    def done(self, *, keep_alive: bool) -> None:
        """The reply is complete; the next request may come, or the connection is closed."""
        ...

    def upgraded(self) -> None:
        """The connection is a tunnel from now on."""
        ...

    def abort(self) -> None:
        """The reply cannot be completed: the caller must see that it is cut."""
        ...
