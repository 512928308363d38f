"""Terms of service: look up signatures, return the text to sign, store a signature."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from scorer.db import terms
from scorer.db.pool import Connection, Database
from scorer.db.terms import Terms
from scorer.domain.texts import is_storable
from scorer.errors import BadInputError, UnanswerableError
from scorer.signatures import recover_signer
from scorer.workflows.sign_in import Nonces


@dataclass(frozen=True, slots=True)
class TermsToSign:
    """The text for the wallet to sign, and the nonce in it."""

    text: str
    nonce: str


class TermsOfService:
    """Reads and writes signatures of the terms."""

    def __init__(self, database: Database, used_nonces: Nonces, *, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._nonces = used_nonces
        self._clock = clock

    async def accepted(self, kind: str, address: str) -> bool:
        """Return True if the address, in any letter case, has signed the active terms of this kind."""
        if not (is_storable(kind) and is_storable(address)):
            return False
        return await self._database.read(lambda conn: terms.accepted(conn, address.lower(), kind=kind))

    async def to_sign(self, kind: str, *, request_id: str) -> TermsToSign:
        """Return the terms in force with a new nonce, which does not expire.

        Raises:
            UnanswerableError: no terms of this kind are in force.
        """
        in_force = await self._in_force(kind)
        nonce = await self._nonces.create(lifetime=None, request_id=request_id)
        return TermsToSign(_message(in_force, nonce), nonce)

    async def accept(self, kind: str, *, nonce: str, signature: str, request_id: str) -> None:
        """Store a signature of the terms; the signer is recovered from the signature alone.

        Raises:
            BadInputError: the nonce is unknown, used or expired.
            UnanswerableError: no terms of this kind are in force, or the signature is malformed; the nonce is consumed anyway.
        """
        if not await self._nonces.consume(nonce, request_id=request_id):
            raise BadInputError("Failed to process the tos acceptance proof")
        in_force = await self._in_force(kind)
        signer = await asyncio.to_thread(recover_signer, _message(in_force, nonce), signature)
        if signer is None:
            raise UnanswerableError("the signature is malformed")
        now = self._clock()

        async def work(conn: Connection) -> None:
            await terms.accept(conn, in_force.id, address=signer, signature=signature, nonce=nonce.lower(), now=now)

        try:
            await self._database.transact(work, request_id=request_id)
        except asyncpg.UniqueViolationError as error:
            raise UnanswerableError("the proof cannot be stored") from error

    async def _in_force(self, kind: str) -> Terms:
        in_force = await self._database.read(lambda conn: terms.in_force(conn, kind))
        if in_force is None:
            raise UnanswerableError("no terms in force")
        return in_force


def _message(in_force: Terms, nonce: str) -> str:
    return f"{in_force.content}\n\nNonce: {nonce}"
