"""Decide from the head of a request whether the control port takes it at all. Pure.

The port listens where browsers can reach it, and by default without a token. So a page that an operator happens to visit must not be
able to use it:

    POST /rollback                                   a form, or fetch() with `no-cors`
    Origin: https://elsewhere.example                not this port's own origin: 403
    Content-Type: text/plain                         only such types need no permission from us (CORS): 415

    GET /status                                      a page whose name was made to point to 127.0.0.1 meanwhile (DNS rebinding)
    Host: elsewhere.example:9901                     no address, and not one of `admin.hosts`: 421

Of browsers only some send Sec-Fetch-Site, and only to origins that they trust, so its absence means nothing.
"""

from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from proxy.http1.parser import RequestHead

BODY_MAX_BYTES: Final = 64 * 1024
SAFE_METHODS: Final = frozenset({"GET", "HEAD"})
ROLLBACK: Final = "/rollback"
"""Path of the one change that must never be made hard."""


@dataclass(frozen=True, slots=True)
class CheckFailure:
    """The status and the words of a refusal."""

    status: int
    detail: str


def path_of(head: RequestHead) -> str:
    """Return the path of a request."""
    return head.target.partition("?")[0]


def check_request(head: RequestHead, *, hosts: Collection[str] | None, recognized: bool) -> CheckFailure | None:
    """Return why a request is refused, None where it is taken.

    Args:
        head: of the request.
        hosts: names that the port is reached by, lower case; None for any.
        recognized: whether it has a token that is right. A page cannot have one, so a rollback needs no content type then.
    """
    fields = head.first_values
    if hosts is not None and not is_own_host(head.host, hosts):
        return CheckFailure(
            421, f"the control port is not known as {head.host!r}: name an IP address, localhost, or one of admin.hosts"
        )
    if head.method in SAFE_METHODS:
        is_navigation = fields.get("sec-fetch-mode", "").lower() == "navigate"
        return None if is_navigation or is_same_site(fields.get("sec-fetch-site")) else _CROSS_SITE
    if not is_same_site(fields.get("sec-fetch-site")):
        return _CROSS_SITE
    origin = fields.get("origin")
    if origin is not None and not is_own_origin(origin, head.host):
        return _CROSS_SITE
    urgent = recognized and path_of(head) == ROLLBACK
    if not urgent and fields.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return CheckFailure(415, "a change needs a body with the field Content-Type: application/json")
    if not urgent and head.length > BODY_MAX_BYTES:
        return CheckFailure(413, f"the body is larger than {BODY_MAX_BYTES} bytes")
    return None


_CROSS_SITE: Final = CheckFailure(403, "requests of pages of another origin are not allowed")


def is_same_site(value: str | None) -> bool:
    """Return False where Sec-Fetch-Site says that a page of another origin sent the request."""
    return value is None or value.lower() in ("none", "same-origin")


def is_own_origin(origin: str, host: str) -> bool:
    """Return True for the origin of the port's own pages."""
    try:
        parts = urlsplit(origin)
        return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower() and bool(host)
    except ValueError:
        return False


def is_own_host(authority: str, hosts: Collection[str]) -> bool:
    """Return True for an IP literal, localhost and one of `hosts`. Clients of HTTP/1.0 send none; browsers always do."""
    if not authority:
        return True
    try:
        name = (urlsplit(f"//{authority}").hostname or "").lower().rstrip(".")
    except ValueError:
        return False
    if name == "localhost" or name in hosts:
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
