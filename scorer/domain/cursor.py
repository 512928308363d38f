"""The token that leads from one page of stamps to the next.

Observed of the legacy: urlsafe base64 without padding of the JSON {"d": "next" or "prev", "id": n}; padding is tolerated, another
direction means the first page, and what cannot be read breaks the request.
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
    """A direction, "next" (older) or "prev" (newer), and the id to go on from."""

    direction: str
    id: int

    def token(self) -> str:
        """The text for a URL."""
        raw = json.dumps({"d": self.direction, "id": self.id}).encode()
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def parse_cursor(token: str) -> Cursor:
    """The cursor of a token.

    Raises:
        UnanswerableError: it is none.
    """
    try:
        padded = token.rstrip("=") + "=" * (-len(token.rstrip("=")) % 4)
        held: Any = json.loads(base64.urlsafe_b64decode(padded.encode()))
    except (binascii.Error, ValueError) as error:
        raise UnanswerableError("the token cannot be read") from error
    if not isinstance(held, dict):
        raise UnanswerableError("the token is no object")
    return _cursor(cast("dict[str, object]", held))


def _cursor(held: dict[str, object]) -> Cursor:
    direction, anchor = held.get("d"), held.get("id")
    try:
        number = int(cast("Any", anchor))
    except (TypeError, ValueError, OverflowError) as error:
        raise UnanswerableError("the token has no id") from error
    return Cursor(str(direction), max(-_BIGINT_MAX, min(number, _BIGINT_MAX)))
