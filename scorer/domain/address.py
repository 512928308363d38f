"""Ethereum addresses as the API accepts them."""

import re

_ADDRESS = re.compile(r"(0x)?[0-9a-f]{40}")


def is_lower_address(text: str) -> bool:
    """Return True if the text, lower-cased before, is an address.

    Observed of the legacy: it lower-cases first, so any checksum passes, as do "0X" and a missing prefix.
    """
    return _ADDRESS.fullmatch(text) is not None
