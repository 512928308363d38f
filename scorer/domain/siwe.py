"""Sign-in with Ethereum (ERC-4361): rebuild the signed message from its JSON fields.

The text must be exact, since one different byte fails the signature. The checks before that (address, domain, expiry) are here too,
in the order in which the sign-in endpoint makes them. Fields are JSON values of any type, as sent by the client.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast
from urllib.parse import urlsplit

from scorer.domain.checksums import with_checksum

VERSION = "1"
_NONCE = re.compile(r".{8,}", re.DOTALL)
_DOMAIN = re.compile(r"[^/?#]+")
_INTEGER = re.compile(r"[+-]?\d+(?:_\d+)*(?:\.0+)?", re.ASCII)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*", re.ASCII)
# URIs of these schemes need a host.
_SCHEMES_WITH_HOST = frozenset({"http", "https", "ws", "wss", "ftp"})


@dataclass(frozen=True, slots=True)
class SignInMessage:
    """The fields of one message; `address` has its checksum spelling."""

    domain: str
    address: str
    uri: str
    chain_id: int
    nonce: str
    issued_at: str
    statement: str | None = None
    expiration_time: str | None = None
    not_before: str | None = None
    request_id: str | None = None
    resources: tuple[str, ...] = ()

    def text(self) -> str:
        """Format the text that the wallet has signed."""
        lines = [f"{self.domain} wants you to sign in with your Ethereum account:", self.address, ""]
        lines += [self.statement, ""] if self.statement is not None else [""]
        lines += [
            f"URI: {self.uri}",
            f"Version: {VERSION}",
            f"Chain ID: {self.chain_id}",
            f"Nonce: {self.nonce}",
            f"Issued At: {self.issued_at}",
        ]
        if self.expiration_time is not None:
            lines.append(f"Expiration Time: {self.expiration_time}")
        if self.not_before is not None:
            lines.append(f"Not Before: {self.not_before}")
        if self.request_id is not None:
            lines.append(f"Request ID: {self.request_id}")
        if self.resources:
            lines += ["Resources:", *(f"- {resource}" for resource in self.resources)]
        return "\n".join(lines)


def parse_address(value: Any) -> str:
    """Return the EIP-55 spelling of the address field; an integer stands for its hex digits.

    Raises:
        ValueError: the value is not an address.
        TypeError: the value has a type that no address can have.
    """
    if isinstance(value, bool):
        raise ValueError("address")  # noqa: TRY004 - the legacy tells booleans and numbers from lists and objects.
    if isinstance(value, int):
        return with_checksum(hex(value))
    if not isinstance(value, str):
        raise TypeError("address")
    return with_checksum(value)


def domain_allowed(domain: Any, allowed: Collection[str]) -> bool:
    """Return True if sign-ins for `domain` are allowed, compared case-insensitively; an empty list refuses all.

    Raises:
        TypeError: the domain is neither a text nor empty.
    """
    if not domain:
        return False
    if not isinstance(domain, str):
        raise TypeError("domain")
    return domain.lower() in {name.lower() for name in allowed}


def still_valid(fields: Mapping[str, Any], *, now: datetime) -> bool:
    """Return True if the message has not expired.

    A message without an expiry never expires. An expiry that is malformed or has no offset (a date only, a week date) counts as
    expired, since the moment that it means is unknown.
    """
    expiry = fields.get("expirationTime")
    if expiry is None:
        return True
    if not isinstance(expiry, str):
        return False
    try:
        moment = datetime.fromisoformat(expiry)
    except ValueError:
        return False
    return moment.tzinfo is not None and moment > now


def has_url_form(text: str) -> bool:
    """Return True if `text` looks like a URL: a scheme, and a host where the scheme needs one."""
    try:
        parts = urlsplit(text.strip())
    except ValueError:
        return False
    if _SCHEME.fullmatch(parts.scheme) is None:
        return False
    return parts.scheme.lower() not in _SCHEMES_WITH_HOST or (bool(parts.netloc) and " " not in parts.netloc)


def parse_message(
    fields: Mapping[str, Any], *, address: str, is_url: Callable[[str], bool] = has_url_form
) -> SignInMessage:
    """Rebuild the message from its JSON fields; empty optional fields count as absent.

    Args:
        fields: the JSON object.
        address: in its checksum spelling.
        is_url: decides which texts are URLs.

    Raises:
        ValueError: a field is missing or violates ERC-4361.
    """
    if fields.get("version") != VERSION:
        raise ValueError("version")
    chain_id = fields.get("chainId", 1)
    return SignInMessage(
        domain=_matching(fields, "domain", _DOMAIN),
        address=address,
        uri=_uri(fields.get("uri"), is_url),
        chain_id=_chain(chain_id),
        nonce=_matching(fields, "nonce", _NONCE),
        issued_at=_time(fields, "issuedAt"),
        statement=_statement(fields.get("statement")),
        expiration_time=_time(fields, "expirationTime") if fields.get("expirationTime") else None,
        not_before=_time(fields, "notBefore") if fields.get("notBefore") else None,
        request_id=_request_id(fields.get("requestId")),
        resources=_resources(fields.get("resources"), is_url),
    )


def _matching(fields: Mapping[str, Any], name: str, form: re.Pattern[str]) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or form.fullmatch(value) is None:
        raise ValueError(name)
    return value


def _time(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise ValueError(name)  # noqa: TRY004 - a client's bad value, not a programming error.
    # Unlike the expiry, these need no offset: the text is signed, not compared with a clock.
    datetime.fromisoformat(value.replace(".000Z", "Z"))
    return value


def _chain(value: Any) -> int:
    """Parse the chain id; texts ("1", " 1.0 ") and floats of an integer are accepted, and 0 stands for the main chain."""
    if isinstance(value, str):
        if _INTEGER.fullmatch(value.strip()) is None:
            raise ValueError("chainId")
        number = int(value.strip().partition(".")[0])
    elif isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        number = int(value)
    else:
        raise ValueError("chainId")
    if number < 0:
        raise ValueError("chainId")
    return number or 1


def _uri(value: Any, is_url: Callable[[str], bool]) -> str:
    if not isinstance(value, str) or not is_url(value):
        raise ValueError("uri")
    return value


def _statement(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value or "\n" in value:
        raise ValueError("statement")
    return value


def _request_id(value: Any) -> str | None:
    if not value:
        return None
    if not isinstance(value, str):
        raise ValueError("requestId")  # noqa: TRY004 - as above.
    return value


def _resources(value: Any, is_url: Callable[[str], bool]) -> tuple[str, ...]:
    if not value:
        return ()
    if not isinstance(value, list):
        raise ValueError("resources")  # noqa: TRY004 - as above.
    return tuple(_uri(entry, is_url) for entry in cast("list[Any]", value))
