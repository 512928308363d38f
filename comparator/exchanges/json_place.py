"""TODO."""

import json
import re
from collections.abc import Sequence

Step = str | int


Path = tuple[Step, ...]
"""A place in a document: member names and array indexes."""


_PLAIN_NAME = re.compile(r"[A-Za-z0-9_@#-][A-Za-z0-9_@#:/-]*\Z")


def path_text(path: Sequence[Step | None]) -> str:
    """Write a place so that `parse_pattern` reads it back: `stamps.Google.score`, `items[0]["a.b"]`; None is written `*`."""
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
