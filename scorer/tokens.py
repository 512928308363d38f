"""Sign-in tokens: verifying both kinds and issuing the newer. The only module that knows pyjwt.

pyjwt and the cryptography below it are loaded by the first token, not by the start. A verified token is not remembered: its
signature is checked each time, which takes about a tenth of a millisecond.
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
    """Verifies and issues with the keys of one deployment; PEM texts, empty where there is none."""

    def __init__(self, *, public_key: str, private_key: str, secret_key: str, clock: Callable[[], datetime]) -> None:
        self._public_pem = public_key
        self._private_pem = private_key
        self._secret_key = secret_key
        self._clock = clock

    def address_of(self, token: str) -> str:
        """The address that a token of either kind speaks for, lower case, not validated.

        Raises:
            BearerTokenRefusedError: the token is refused; the text is what the legacy prints.
            UnanswerableError: it is valid and names nobody.
        """
        address = did_address(self.verify(token))
        if address is None:
            raise UnanswerableError("a token without a did")
        return address

    def verify(self, token: str) -> Mapping[str, Any]:
        """The claims of a token of either kind.

        Raises:
            BearerTokenRefusedError: it is of neither kind; the text is what the legacy prints.
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
        """A token that speaks for `address` for a week.

        Raises:
            SettingsError: there is no usable private key.
        """
        import jwt  # noqa: PLC0415 - see the module's docstring.

        claims = issued_claims(address, now=self._clock(), token_id=token_id)
        try:
            return jwt.encode(claims, self._private_pem, algorithm="RS256")
        except (ValueError, TypeError, jwt.PyJWTError) as error:
            raise ScorerSettingsError("SIWE_JWT_PRIVATE_KEY is no RSA private key") from error

    @cached_property
    def _public_key(self) -> Any:
        from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415

        try:
            return load_pem_public_key(self._public_pem.encode())
        except ValueError as error:
            logger.error("token_key_unusable", extra={"variable": "SIWE_JWT_PUBLIC_KEY"})
            raise ScorerSettingsError("SIWE_JWT_PUBLIC_KEY is no public key") from error

    def _newer_claims(self, token: str) -> Mapping[str, Any] | str:
        import jwt  # noqa: PLC0415

        try:
            return jwt.decode(token, self._public_key, algorithms=["RS256"], issuer=ISSUER)
        except jwt.PyJWTError as error:
            return str(error)

    def _older_claims(self, token: str) -> Mapping[str, Any] | str:
        import jwt  # noqa: PLC0415

        if not self._secret_key:
            # An empty secret is one that anybody can sign with.
            return _NOT_VALID
        try:
            with warnings.catch_warnings():
                # A short secret is the legacy's choice; it is not this request's business.
                warnings.simplefilter("ignore")
                claims = jwt.decode(token, self._secret_key, algorithms=["HS256"])
        except (jwt.PyJWTError, ValueError):
            return _NOT_VALID
        return older_claims_flaw(claims, now=self._clock()) or claims
