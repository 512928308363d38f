"""Sign-in with a wallet: nonces, messages, signatures, tokens."""

import asyncio
import logging
import secrets
import uuid
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

from pydantic_core import SchemaValidator, ValidationError, core_schema

from scorer.db import nonces
from scorer.db.pool import Connection, Database
from scorer.domain.siwe import SignInMessage, domain_allowed, parse_address, parse_message, still_valid
from scorer.domain.texts import is_storable
from scorer.errors import BadInputError, ScorerSettingsError
from scorer.signatures import ContractSignatures, recover_signer
from scorer.tokens import Tokens

logger = logging.getLogger(__name__)

NONCE_LIFETIME = timedelta(seconds=300)
_NONCE_BYTES = 30
_FAILED = "Authentication failed!"
_URL = SchemaValidator(core_schema.url_schema())


class Nonces:
    """Creates nonces and accepts each one once."""

    def __init__(self, database: Database, *, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    async def create(self, *, lifetime: timedelta | None, request_id: str) -> str:
        """Create and store a nonce of 60 hex digits; without a lifetime it never expires."""
        nonce, now = secrets.token_hex(_NONCE_BYTES), self._clock()
        expires_on = now + lifetime if lifetime else None

        async def work(conn: Connection) -> None:
            await nonces.insert(conn, nonce, created_on=now, expires_on=expires_on)

        await self._database.transact(work, request_id=request_id)
        return nonce

    async def consume(self, nonce: Any, *, request_id: str) -> bool:
        """Consume a nonce as sent by the client, and commit; False if it is not a text, unknown, used or expired."""
        if not isinstance(nonce, str) or not is_storable(nonce):
            return False
        text = nonce
        now = self._clock()
        return await self._database.transact(lambda conn: nonces.consume(conn, text, now=now), request_id=request_id)


class SignIn:
    """Exchanges signed messages for tokens."""

    def __init__(
        self,
        used_nonces: Nonces,
        tokens: Tokens,
        contracts: ContractSignatures | None,
        *,
        domains: Collection[str],
        clock: Callable[[], datetime],
    ) -> None:
        self._nonces = used_nonces
        self._tokens = tokens
        self._contracts = contracts
        self._domains = domains
        self._clock = clock

    async def token_for(self, fields: Mapping[str, Any], signature: str, *, request_id: str) -> str:
        """Return a token for the address that signed the message of these fields.

        The nonce is consumed as soon as the checks before it pass, even if a later check fails.

        Raises:
            BadInputError: a check failed; the text names it. The order of the checks is the legacy's.
        """
        address = self._checked(fields)
        if not await self._nonces.consume(fields["nonce"], request_id=request_id):
            raise BadInputError("Invalid nonce!")
        message = _rebuilt(fields, address)
        if not await self._signed_by(message, signature):
            raise BadInputError("Invalid signature!")
        try:
            return await asyncio.to_thread(self._tokens.issue, address, token_id=str(uuid.uuid4()))
        except ScorerSettingsError as error:
            logger.error("token_not_issued", extra={"reason": str(error)})
            raise BadInputError(_FAILED) from error

    def _checked(self, fields: Mapping[str, Any]) -> str:
        if not fields.get("address") or not fields.get("nonce"):
            raise BadInputError("Missing address or nonce!")
        try:
            address = parse_address(fields["address"])
        except ValueError as error:
            raise BadInputError("Invalid address format!") from error
        except TypeError as error:
            raise BadInputError(_FAILED) from error
        try:
            allowed = domain_allowed(fields.get("domain"), self._domains)
        except TypeError as error:
            raise BadInputError(_FAILED) from error
        if not allowed or not still_valid(fields, now=self._clock()):
            raise BadInputError("Verification failed!")
        return address

    async def _signed_by(self, message: SignInMessage, signature: str) -> bool:
        # In a thread: recovering the signer takes milliseconds of pure Python, and the first call loads the library.
        signer = await asyncio.to_thread(recover_signer, message.text(), signature)
        if signer == message.address.lower():
            return True
        return self._contracts is not None and await self._contracts.accepts(message.address, message.text(), signature)


def _is_url(text: str) -> bool:
    # The URL parser of pydantic, as in the library that the legacy rebuilds messages with.
    try:
        _URL.validate_python(text)
    except ValidationError:
        return False
    return True


def _rebuilt(fields: Mapping[str, Any], address: str) -> SignInMessage:
    try:
        message = parse_message(fields, address=address, is_url=_is_url)
        # A lone surrogate is valid in JSON but not encodable in UTF-8.
        message.text().encode()
    except ValueError as error:
        raise BadInputError(_FAILED) from error
    return message
