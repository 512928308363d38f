"""Verify sign-in tokens of both kinds and issue those of the newer kind. The only module that imports pyjwt.

pyjwt and cryptography are loaded by the first token, not at start-up. Verified tokens are not cached: checking a signature takes
about 0.1 ms.
"""

import logging
import warnings
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cached_property
from typing import Any

from scorer.domain.token_claims import ISSUER, did_address, issued_claims, older_claims_flaw, refusal_text
from scorer.errors import BearerTokenRefusedError, ScorerSettingsError, UnanswerableError

logger = logging.getLogger(__name__)

_NOT_VALID = "Token is invalid or expired"


class Tokens:
    """Verifies and issues tokens with the keys of one deployment; PEM texts, empty where a key is not configured."""

    def __init__(self, *, public_key: str, private_key: str, secret_key: str, clock: Callable[[], datetime]) -> None:
        self._public_pem = public_key
        self._private_pem = private_key
        self._secret_key = secret_key
        self._clock = clock

    def address_of(self, token: str) -> str:
        """Return the subject's address of a token of either kind, lower case, not validated.

        Raises:
            BearerTokenRefusedError: the token is refused; the text is the legacy's.
            UnanswerableError: the token is valid and has no did claim.
        """
        address = did_address(self.verify(token))
        if address is None:
            raise UnanswerableError("a token without a did")
        return address

    def verify(self, token: str) -> Mapping[str, Any]:
        """Return the claims of a token of either kind.

        Raises:
            BearerTokenRefusedError: the token is of neither kind; the text is the legacy's.
        """
        newer_flaw = None
        if self._public_pem:
            claims = self._newer_claims(token)
            if isinstance(claims, Mapping):
                return claims
            newer_flaw = claims
        claims = self._older_claims(token)
        if isinstance(claims, str):
            raise BearerTokenRefusedError(refusal_text(newer_flaw, claims))
        return claims

    def issue(self, address: str, *, token_id: str) -> str:
        """Issue a token for `address`, valid for a week.

        Raises:
            ScorerSettingsError: SIWE_JWT_PRIVATE_KEY is missing or unusable.
        """
        import jwt  # noqa: PLC0415 - see the module's docstring.

        claims = issued_claims(address, now=self._clock(), token_id=token_id)
        try:
            return jwt.encode(claims, self._private_pem, algorithm="RS256")
        except (ValueError, TypeError, jwt.PyJWTError) as error:
            raise ScorerSettingsError("SIWE_JWT_PRIVATE_KEY is not an RSA private key") from error

    @cached_property
    def _public_key(self) -> Any:
        from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415

        try:
            return load_pem_public_key(self._public_pem.encode())
        except ValueError as error:
            logger.error("token_key_unusable", extra={"variable": "SIWE_JWT_PUBLIC_KEY"})
            raise ScorerSettingsError("SIWE_JWT_PUBLIC_KEY is not a public key") from error

    def _newer_claims(self, token: str) -> Mapping[str, Any] | str:
        import jwt  # noqa: PLC0415

        try:
            return jwt.decode(token, self._public_key, algorithms=["RS256"], issuer=ISSUER)
        except jwt.PyJWTError as error:
            return str(error)

    def _older_claims(self, token: str) -> Mapping[str, Any] | str:
        import jwt  # noqa: PLC0415

        if not self._secret_key:
            # Anyone can sign with an empty secret.
            return _NOT_VALID
        try:
            with warnings.catch_warnings():
                # pyjwt warns of short secrets; the deployment chose it, and a request cannot change it.
                warnings.simplefilter("ignore")
                # The older kind has no audience to check; the legacy accepts a token with any.
                claims = jwt.decode(token, self._secret_key, algorithms=["HS256"], options={"verify_aud": False})
        except (jwt.PyJWTError, ValueError):
            return _NOT_VALID
        return older_claims_flaw(claims, now=self._clock()) or claims
