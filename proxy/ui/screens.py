"""Define a screen: a URL, a template, and a function that reads what the template shows.

    GET /rollout?span=1h          the page
    GET /rollout.json?span=1h     the same values as JSON

To add a screen: a function that reads a document (a dataclass or a msgspec Struct, so that it has a JSON form), a template that extends
`base.html`, and a row in `proxy.ui.app.SCREENS`. The whole state of a screen is its URL: what is read depends on `ScreenRequest` alone.
A part that does not answer is a `PartAnswer` of the document; an error that is raised instead ends the reading, and the page then says why, with
the document that was read before.
"""

import datetime as dt
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from proxy.config.settings import Settings
from proxy.errors import ProxyError
from proxy.ui.parts import InstallationReader, Parts

FRESH_S: Final = 1.0
"""Age at which a document is read again, for most screens."""
SPANS: Final = {
    "15m": dt.timedelta(minutes=15),
    "1h": dt.timedelta(hours=1),
    "6h": dt.timedelta(hours=6),
    "24h": dt.timedelta(days=1),
    "7d": dt.timedelta(days=7),
}
"""Time ranges by the value of `span` in a URL."""
SPAN_TEXTS: Final = {"15m": "15 minutes", "1h": "1 hour", "6h": "6 hours", "24h": "24 hours", "7d": "7 days"}
SPAN_DEFAULT: Final = "15m"


def span_of(query: Mapping[str, str]) -> str:
    """Return the name of the time range that a query chooses."""
    name = query.get("span", SPAN_DEFAULT)
    return name if name in SPANS else SPAN_DEFAULT


class ScreenNotFoundError(ProxyError):
    """The URL names something that does not exist, e.g. a cause; the message says what."""


@dataclass(frozen=True, slots=True)
class ScreenRequest:
    """The sources that a screen is read from.

    Attributes:
        reader: reads the parts; `reader.store.connection()` is a read-only connection.
        parts: the parts, as the frame shows them.
        query: the query of the URL.
        path: the parameters of the path, e.g. an id.
        now: the present time.
    """

    reader: InstallationReader
    parts: Parts
    query: Mapping[str, str]
    path: Mapping[str, str]
    now: dt.datetime

    @property
    def settings(self) -> Settings:
        """The configuration."""
        return self.reader.settings

    @property
    def span_name(self) -> str:
        """The name of the time range, a key of SPANS."""
        return span_of(self.query)

    @property
    def since(self) -> dt.datetime:
        """Begin of the time range."""
        return self.now - SPANS[self.span_name]


@dataclass(frozen=True, slots=True)
class Screen:
    """One screen.

    Attributes:
        path: its path, in aiohttp's notation: `/causes/{id}`.
        title: its title.
        template: name of its template.
        read: reads its document.
        section: path of the menu's entry that it belongs to; "" for its own.
        has_span: the time range in the header applies to it.
        fresh_s: age at which its document is read again, by the query: seconds for one that costs seconds of CPU time.
    """

    path: str
    title: str
    template: str
    read: Callable[[ScreenRequest], Awaitable[object]]
    section: str = ""
    has_span: bool = False
    fresh_s: Callable[[Mapping[str, str]], float] = lambda _query: FRESH_S


@dataclass(frozen=True, slots=True)
class MenuEntry:
    """An entry of the menu; `g` and `key` lead to it."""

    path: str
    title: str
    key: str


MENU: Final = (
    MenuEntry("/", "Overview", "o"),
    MenuEntry("/rollout", "Rollout", "r"),
    MenuEntry("/causes", "Causes", "c"),
    MenuEntry("/journal", "Journal", "j"),
    MenuEntry("/rules", "Rules", "u"),
    MenuEntry("/replays", "Replays", "p"),
    MenuEntry("/configuration", "Configuration", "g"),
)
"""The entries of the menu, in their order; one without a screen is left out."""
