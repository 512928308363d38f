"""Signs JSON Web Tokens again. Pure. The only module of the proxy that imports a JWT library."""

from typing import Any

import jwt

from proxy.replay.errors import CredentialError


def sign_again(token: str, *, key: str, algorithm: str, now_s: int, lifetime_s: int) -> str:
    """Return a token with the same claims, issued now; a text that is not a token is returned unchanged.

    Args:
        token: its lifetime is retained, where it has one.
        key: to sign with.
        algorithm: of the signature, e.g. HS256.
        now_s: Unix seconds.
        lifetime_s: of a token without `exp`, or without `iat` and `nbf`.

    Raises:
        CredentialError: the key does not fit the algorithm.
    """
    try:
        header = jwt.get_unverified_header(token)
        # The old signature need not hold: the recording is trusted, and the result gets a new one.
        claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    except jwt.PyJWTError:
        return token
    issued = claims.get("iat", claims.get("nbf"))
    if isinstance(issued, int | float) and isinstance(claims.get("exp"), int | float):
        lifetime_s = max(1, round(claims["exp"] - issued))
    fresh = {**claims, **{name: now_s for name in ("iat", "nbf") if name in claims}, "exp": now_s + lifetime_s}
    other_fields = {name: value for name, value in header.items() if name not in ("alg", "typ")}
    try:
        return jwt.encode(fresh, key, algorithm=algorithm, headers=other_fields)
    except (jwt.PyJWTError, ValueError, TypeError, NotImplementedError) as error:
        raise CredentialError(f"cannot sign a token with {algorithm}: {error}") from error
