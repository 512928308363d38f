"""What the endpoints refuse, and the form of an address."""

import re

ADDRESS = re.compile(r"(0x)?[0-9a-f]{40}\Z")


class RefusedError(Exception):
    """A request that is answered with a status and a sentence."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
