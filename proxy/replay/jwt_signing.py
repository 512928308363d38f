"""Signs JSON web tokens again. Pure, and the one module here that imports a JWT library."""

from typing import Any

import jwt

from proxy.replay.errors import CredentialError


def signed_again(token: str, *, key: str, algorithm: str, now_s: int, lifetime_s: int) -> str:
    """The token's claims with the times of one that is issued now; what is no token stays as it is.

    Raises:
        CredentialError: the key cannot sign by this algorithm.
    """
    try:
        header = jwt.get_unverified_header(token)
        # Its own signature says nothing here: the recording is ours, and what is made of it is signed anew.
        claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    except jwt.PyJWTError:
        return token
    issued = claims.get("iat", claims.get("nbf"))
    if isinstance(issued, int | float) and isinstance(claims.get("exp"), int | float):
        lifetime_s = max(1, round(claims["exp"] - issued))
    fresh = {**claims, **{name: now_s for name in ("iat", "nbf") if name in claims}, "exp": now_s + lifetime_s}
    kept = {name: value for name, value in header.items() if name not in ("alg", "typ")}
    try:
        return jwt.encode(fresh, key, algorithm=algorithm, headers=kept)
    except (jwt.PyJWTError, ValueError, TypeError, NotImplementedError) as error:
        raise CredentialError(f"a token cannot be signed by {algorithm}: {error}") from error
