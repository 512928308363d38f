"""Sign-in tokens without their cryptography: the required claims, the claims of an issued token, the text of a refusal.

Two kinds are accepted, in this order: tokens of the sign-in endpoint (RS256, issuer `passport-scorer`) and those of the older sign-in
(HS256, with expiry, id and type). Observed of the legacy: neither allows leeway, and the text for a token of neither kind is Python's
repr of both errors, which existing clients may show.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

ISSUER = "passport-scorer"
LIFETIME = timedelta(days=7)
_DID_PREFIX = "did:pkh:eip155:1:"
_INVALID = "Token is invalid or expired"


def bearer_token(header: str | None) -> str | None:
    """Return the token of an Authorization header with the scheme Bearer (case-insensitive), else None; the scheme alone has ""."""
    scheme, _, token = (header or "").partition(" ")
    return token if scheme.lower() == "bearer" else None


def older_claims_flaw(claims: Mapping[str, Any], *, now: datetime) -> str | None:
    """Return the first flaw of an HS256 token with a valid signature, in the order of the legacy's checks; None without one."""
    if "exp" not in claims:
        return "Token has no 'exp' claim"
    if not isinstance(claims["exp"], int | float) or claims["exp"] <= now.timestamp():
        return "Token 'exp' claim has expired"
    if "jti" not in claims:
        return "Token has no id"
    if "token_type" not in claims:
        return "Token has no type"
    if claims["token_type"] != "access":  # noqa: S105 - a kind of token, not a secret.
        return "Token has wrong type"
    return None


def refusal_text(newer_flaw: str | None, older_flaw: str = _INVALID) -> str:
    """Format the error text for a token of neither kind; `newer_flaw` is None if RS256 tokens are not accepted."""
    tried = [("SIWE_RS256", newer_flaw)] if newer_flaw is not None else []
    messages = [
        f"{{'token_class': {_printed(kind)}, 'token_type': {_printed('access')}, 'message': {_printed(flaw)}}}"
        for kind, flaw in [*tried, ("AccessToken", older_flaw)]
    ]
    detail = _printed("Given token not valid for any token type")
    return f"{{'detail': {detail}, 'code': {_printed('token_not_valid')}, 'messages': [{', '.join(messages)}]}}"


def _printed(text: str) -> str:
    return f"ErrorDetail(string={text!r}, code='token_not_valid')"


def did_address(claims: Mapping[str, Any]) -> str | None:
    """Return the address in a token: the last part of its did, lower case; None without a did."""
    did = claims.get("did")
    return did.rpartition(":")[2].lower() if isinstance(did, str) else None


def issued_claims(address: str, *, now: datetime, token_id: str) -> dict[str, Any]:
    """Build the claims of a token for `address`, valid for a week; times are Unix seconds."""
    issued_at = int(now.timestamp())
    return {
        "did": _DID_PREFIX + address.lower(),
        "iat": issued_at,
        "exp": issued_at + int(LIFETIME.total_seconds()),
        "jti": token_id,
        "iss": ISSUER,
        "token_type": "access",
    }
