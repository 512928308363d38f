"""Sign-in with Ethereum (ERC-4361): rebuild the signed message from its JSON fields.

The text must be exact, since one different byte fails the signature. The checks before that (domain, expiry) are here too, in the
order in which the sign-in endpoint makes them.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast
from urllib.parse import urlsplit

VERSION = "1"
_NONCE = re.compile(r".{8,}", re.DOTALL)
_DOMAIN = re.compile(r"[^/?#]+")
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


def domain_allowed(domain: Any, allowed: Collection[str]) -> bool:
    """Return True if sign-ins for `domain` are allowed, compared case-insensitively; an empty list refuses all."""
    return isinstance(domain, str) and domain.lower() in {name.lower() for name in allowed}


def still_valid(fields: Mapping[str, Any], *, now: datetime) -> bool:
    """Return True if the message has not expired; one without an expiry never does, a malformed expiry counts as expired."""
    if fields.get("expirationTime") is None:
        return True
    moment = _moment(fields["expirationTime"])
    return moment is not None and moment > now


def _moment(value: Any) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def parse_message(fields: Mapping[str, Any], *, address: str) -> SignInMessage:
    """Rebuild the message from its JSON fields; empty optional fields count as absent.

    Raises:
        ValueError: a field is missing or violates ERC-4361.
    """
    if fields.get("version") != VERSION:
        raise ValueError("version")
    chain_id = fields.get("chainId", 1)
    return SignInMessage(
        domain=_matching(fields, "domain", _DOMAIN),
        address=address,
        uri=_uri(fields.get("uri")),
        chain_id=_chain(chain_id),
        nonce=_matching(fields, "nonce", _NONCE),
        issued_at=_time(fields, "issuedAt"),
        statement=_statement(fields.get("statement")),
        expiration_time=_time(fields, "expirationTime") if fields.get("expirationTime") else None,
        not_before=_time(fields, "notBefore") if fields.get("notBefore") else None,
        request_id=_request_id(fields.get("requestId")),
        resources=_resources(fields.get("resources")),
    )


def _matching(fields: Mapping[str, Any], name: str, form: re.Pattern[str]) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or form.fullmatch(value) is None:
        raise ValueError(name)
    return value


def _time(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if _moment(value) is None:
        raise ValueError(name)
    return str(value)


def _chain(value: Any) -> int:
    """Parse the chain id; texts and floats of an integer are accepted, and 0 stands for the main chain."""
    if not isinstance(value, int | float | str) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError("chainId")
    number = int(value)
    if number < 0:
        raise ValueError("chainId")
    return number or 1


def _uri(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("uri")  # noqa: TRY004 - a client's bad value, not a programming error.
    parts = urlsplit(value.strip())
    if _SCHEME.fullmatch(parts.scheme) is None:
        raise ValueError("uri")
    if parts.scheme.lower() in _SCHEMES_WITH_HOST and (not parts.netloc or " " in parts.netloc):
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


def _resources(value: Any) -> tuple[str, ...]:
    if not value:
        return ()
    if not isinstance(value, list):
        raise ValueError("resources")  # noqa: TRY004 - as above.
    return tuple(_uri(entry) for entry in cast("list[Any]", value))
