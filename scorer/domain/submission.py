"""Credentials that clients hand in, taken apart for storing; their proofs are not looked at yet.

Observed of the legacy: a provider and `proof.proofValue` are needed (so a proof with `jws` alone cannot be stored), dates may be
missing but not unreadable, and one provider may not come twice. What breaks these rules breaks the whole request.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from scorer.domain.times import parse_moment
from scorer.errors import UnanswerableError

_TEXT_MAX_CHARACTERS = 256


@dataclass(frozen=True, slots=True)
class SubmittedStamp:
    """One credential to store under a provider."""

    provider: str
    credential: Mapping[str, Any]
    proof_value: str
    issued_at: datetime | None
    expires_at: datetime | None


def provider_of(credential: object) -> str:
    """The provider a credential names in its subject.

    Raises:
        UnanswerableError: it names none.
    """
    return _text(_member(_member(credential, "credentialSubject"), "provider"))


def submitted(provider: str, credential: object) -> SubmittedStamp:
    """A credential under the provider it was handed in for.

    Raises:
        UnanswerableError: it cannot be stored.
    """
    proof_value = _text(_member(_member(credential, "proof"), "proofValue"))
    if max(len(provider), len(proof_value)) > _TEXT_MAX_CHARACTERS:
        raise UnanswerableError("a text is longer than its column")
    held = cast("Mapping[str, Any]", credential)
    return SubmittedStamp(provider, held, proof_value, _moment(held, "issuanceDate"), _moment(held, "expirationDate"))


def all_different(stamps: Iterable[SubmittedStamp]) -> list[SubmittedStamp]:
    """The stamps, no provider twice.

    Raises:
        UnanswerableError: a provider comes twice; an address holds one live stamp a provider.
    """
    listed = list(stamps)
    if len({stamp.provider for stamp in listed}) != len(listed):
        raise UnanswerableError("a provider comes twice")
    return listed


def _member(value: object, name: str) -> object:
    if not isinstance(value, dict) or name not in value:
        raise UnanswerableError(f"{name} is missing")
    return cast("dict[str, object]", value)[name]


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    # A text column takes a number's digits.
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise UnanswerableError("a text is missing")


def _moment(credential: Mapping[str, Any], name: str) -> datetime | None:
    raw: object = credential.get(name)
    if raw is None:
        return None
    moment = parse_moment(raw) if isinstance(raw, str) else None
    if moment is None:
        raise UnanswerableError(f"{name} is no date")
    return moment
