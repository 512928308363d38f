"""Parse submitted credentials into the columns of a stored stamp; their proofs are not verified here.

Observed of the legacy: a provider and `proof.proofValue` are required (so a proof with only `jws` cannot be stored), dates may be
missing but not malformed, and a provider may not occur twice. A violation fails the whole request.
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
    """Return the provider in a credential's subject.

    Raises:
        UnanswerableError: there is none, or it is not a text.
    """
    return _text(_member(_member(credential, "credentialSubject"), "provider"), "provider")


def submitted(provider: str, credential: object) -> SubmittedStamp:
    """Parse a credential submitted for a provider.

    Raises:
        UnanswerableError: it cannot be stored.
    """
    proof_value = _text(_member(_member(credential, "proof"), "proofValue"), "proofValue")
    if max(len(provider), len(proof_value)) > _TEXT_MAX_CHARACTERS:
        raise UnanswerableError("a text is longer than its column")
    fields = cast("Mapping[str, Any]", credential)
    return SubmittedStamp(
        provider, fields, proof_value, _moment(fields, "issuanceDate"), _moment(fields, "expirationDate")
    )


def all_different(stamps: Iterable[SubmittedStamp]) -> list[SubmittedStamp]:
    """Return the stamps as a list, checking that no provider occurs twice.

    Raises:
        UnanswerableError: a provider occurs twice; an address has at most one live stamp of a provider.
    """
    listed = list(stamps)
    if len({stamp.provider for stamp in listed}) != len(listed):
        raise UnanswerableError("a provider occurs twice")
    return listed


def _member(value: object, name: str) -> object:
    if not isinstance(value, dict) or name not in value:
        raise UnanswerableError(f"{name} is missing")
    return cast("dict[str, object]", value)[name]


def _text(value: object, name: str) -> str:
    if isinstance(value, str):
        return value
    raise UnanswerableError(f"{name} is not a text")


def _moment(credential: Mapping[str, Any], name: str) -> datetime | None:
    raw: object = credential.get(name)
    if raw is None:
        return None
    moment = parse_moment(raw, date_pattern=True) if isinstance(raw, str) else None
    if moment is None:
        raise UnanswerableError(f"{name} is not a date")
    return moment
