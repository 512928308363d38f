"""The token of a page of stamps.

Observed of the legacy: URL-safe base64 without padding of the JSON {"d": "next" or "prev", "id": n}. Padding is tolerated, another
direction means the first page, and a malformed token fails the request.
"""

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any, cast

from scorer.errors import UnanswerableError

_BIGINT_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Cursor:
    """A direction, "next" (older) or "prev" (newer), and the id to continue from."""

    direction: str
    id: int

    def token(self) -> str:
        """Encode the cursor for a URL."""
        raw = json.dumps({"d": self.direction, "id": self.id}).encode()
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def parse_cursor(token: str) -> Cursor:
    """Decode a token.

    Raises:
        UnanswerableError: the token is malformed.
    """
    try:
        padded = token.rstrip("=") + "=" * (-len(token.rstrip("=")) % 4)
        held: Any = json.loads(base64.urlsafe_b64decode(padded.encode()))
    except (binascii.Error, ValueError) as error:
        raise UnanswerableError("the token cannot be decoded") from error
    if not isinstance(held, dict):
        raise UnanswerableError("the token is not an object")
    return _cursor(cast("dict[str, object]", held))


def _cursor(held: dict[str, object]) -> Cursor:
    direction, anchor = held.get("d"), held.get("id")
    try:
        number = int(cast("Any", anchor))
    except (TypeError, ValueError, OverflowError) as error:
        raise UnanswerableError("the token has no id") from error
    return Cursor(str(direction), max(-_BIGINT_MAX, min(number, _BIGINT_MAX)))
