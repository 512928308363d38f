"""Count the requests that match no route, by method and path template, in bounded memory. Pure.

    GET /customers/17/invoices?page=2    GET /customers/{}/invoices
    GET /wp-login.php                    GET /wp-login.php

The table has TEMPLATES_MAX places. When it is full, a new template takes the place of the one with the fewest requests, and its count
(Metwally, Agrawal, El Abbadi: "Efficient computation of frequent and top-k elements in data streams"): what is frequent stays, and a count
is too high by at most the least one.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import unquote

TEMPLATES_MAX: Final = 200
SHOWN_MAX: Final = 20
PATH_MAX: Final = 200
"""Longer paths are cut."""
_ID: Final = re.compile(
    r"\d+|0[xX][0-9a-fA-F]+|[0-9a-fA-F]{12,}|[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"
    r"|[^@\s]+@[^@\s]+\.[A-Za-z]+|\d{4}-\d\d-\d\d.*|(?=.*\d)(?=.*[A-Za-z])[A-Za-z0-9_-]{16,}"
)
_VERSION: Final = re.compile(r"v\d+")


def is_id(segment: str) -> bool:
    """Tell whether a segment of a path looks like an id rather than like a word."""
    return _ID.fullmatch(unquote(segment)) is not None and not _VERSION.fullmatch(segment)


def template_of(method: str, target: str) -> str:
    """Return method and path of a request, with `{}` for segments that look like ids."""
    path = target.partition("?")[0][:PATH_MAX]
    return f"{method} {'/'.join('{}' if segment and is_id(segment) else segment for segment in path.split('/'))}"


class UnroutedPaths:
    """The most frequent templates of requests without a route, of one process since its start."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def add(self, method: str, target: str) -> None:
        """Count a request."""
        template = template_of(method, target)
        if template not in self._counts and len(self._counts) >= TEMPLATES_MAX:
            least = min(self._counts, key=self._counts.__getitem__)
            self._counts[template] = self._counts.pop(least)
        self._counts[template] = self._counts.get(template, 0) + 1

    def most_frequent(self) -> Sequence[Mapping[str, object]]:
        """Return the most frequent ones as plain data, at most SHOWN_MAX: `{"template": "GET /x/{}", "count": 3}`."""
        ranked = sorted(self._counts.items(), key=lambda one: (-one[1], one[0]))
        return [{"template": template, "count": count} for template, count in ranked[:SHOWN_MAX]]
