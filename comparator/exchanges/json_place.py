"""Name a place in a JSON document. Pure. `comparator.rules.json_paths` parses the notation and matches places against patterns."""

import json
import re
from collections.abc import Sequence
from typing import Final

Step = str | int
Path = tuple[Step, ...]
"""Member names and array indexes that lead to a place, e.g. `("items", 0, "score")`; `()` is the whole document."""

_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_@#-][A-Za-z0-9_@#:/-]*\Z")


def path_text(path: Sequence[Step | None]) -> str:
    """Write a place as text that `parse_pattern` reads back: `items[0].score`, `stamps["a.b"]`; a step of None is written `*`."""
    parts: list[str] = []
    for step in path:
        if step is None:
            parts.append(".*" if parts else "*")
        elif isinstance(step, int):
            parts.append(f"[{step}]")
        elif _PLAIN_NAME.match(step):
            parts.append(f".{step}" if parts else step)
        else:
            parts.append(f"[{json.dumps(step)}]")
    return "".join(parts)
