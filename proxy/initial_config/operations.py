"""Define an operation: one method on one path template, and the names of what its requests carry. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

PARAMETER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
NO_NAMES: Final[frozenset[str]] = frozenset()


@dataclass(frozen=True, slots=True)
class ApiOperation:
    """An operation of the API.

    Attributes:
        method: in upper case.
        template: path with `{name}` for each segment that varies.
        seen: requests of a recording; 0 for one that only a document names.
        query: names of query parameters.
        headers: names of request headers, in lower case, as far as they may be a key.
        members: dotted paths of the request's JSON body.
        claims: claims of the bearer token.
        response_members: names of members of JSON responses, at any depth.
    """

    method: str
    template: str
    seen: int = 0
    query: frozenset[str] = NO_NAMES
    headers: frozenset[str] = NO_NAMES
    members: frozenset[str] = NO_NAMES
    claims: frozenset[str] = NO_NAMES
    response_members: frozenset[str] = NO_NAMES

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the path's parameters, in order."""
        return tuple(PARAMETER.findall(self.template))

    @property
    def writes(self) -> bool:
        """True if the method is not safe."""
        return self.method not in ("GET", "HEAD", "OPTIONS", "TRACE")


def segments_of(path: str) -> tuple[str, ...]:
    """Return the segments of a path or a template: `/a/{b}/` has `a`, `{b}` and an empty one."""
    return tuple(path.split("/")[1:])


def parent_of(template: str, parameter: str) -> str:
    """Return the literal segment ahead of a parameter; "" for none."""
    before = ""
    for segment in segments_of(template):
        if f"{{{parameter}}}" in segment:
            return before
        before = "" if PARAMETER.search(segment) else segment
    return ""


def specific_first(templates: Iterable[str]) -> list[str]:
    """Return templates in an order in which the first that matches a path is the most specific: literals before parameters."""
    return sorted(set(templates), key=lambda text: [(bool(PARAMETER.search(part)), part) for part in segments_of(text)])
