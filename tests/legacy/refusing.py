"""Refusals of the endpoints, and the format of an address."""

import re

ADDRESS = re.compile(r"(0x)?[0-9a-f]{40}\Z")


class RefusedError(Exception):
    """A request that is refused with a status and a message."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
