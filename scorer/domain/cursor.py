"""The token of a page of stamps.

Observed of the legacy: URL-safe base64 without padding of the JSON {"d": "next" or "prev", "id": n}. Padding is tolerated; another
direction, or none, means the first page, whatever the id is; a malformed token fails the request.
"""

import base64
import binascii
import json
import math
from dataclasses import dataclass
from typing import Any, cast

from scorer.errors import UnanswerableError

_BIGINT_MAX = 2**63 - 1
_DIRECTIONS = frozenset({"next", "prev"})


@dataclass(frozen=True, slots=True)
class Cursor:
    """A direction, "next" (older) or "prev" (newer), and the id to continue from."""

    direction: str
    id: int

    def token(self) -> str:
        """Encode the cursor for a URL."""
        raw = json.dumps({"d": self.direction, "id": self.id}).encode()
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def parse_cursor(token: str) -> Cursor | None:
    """Decode a token; None means the first page.

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


def _cursor(held: dict[str, object]) -> Cursor | None:
    direction, anchor = held.get("d"), held.get("id")
    if not isinstance(direction, str) or direction not in _DIRECTIONS:
        return None
    try:
        # "Smaller than 3.5" is "smaller than 4", and "greater than 3.5" is "greater than 3".
        number = math.ceil(anchor) if isinstance(anchor, float) and direction == "next" else int(cast("Any", anchor))
    except (TypeError, ValueError, OverflowError) as error:
        raise UnanswerableError("the token has no id") from error
    return Cursor(direction, max(-_BIGINT_MAX, min(number, _BIGINT_MAX)))
