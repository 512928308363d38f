"""Ethereum addresses as the API takes them."""

import re

_ADDRESS = re.compile(r"(0x)?[0-9a-f]{40}")


def is_lower_address(text: str) -> bool:
    """Whether the already lower-cased text is an address.

    Observed of the legacy: it lowers first, so any checksum passes, as do "0X" and a missing prefix.
    """
    return _ADDRESS.fullmatch(text) is not None
