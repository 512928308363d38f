"""Builders of stamps and credentials for the pure rules; everything has a valid default."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from scorer.domain.stamp import Stamp, StoredStamp

NOW = datetime(2030, 1, 1, tzinfo=UTC)
LATER = datetime(2031, 1, 1, tzinfo=UTC)
ADDRESS = "0x" + "a" * 40
OTHER = "0x" + "b" * 40
ISSUER = "did:key:trusted"
_STAMP = Stamp(1, "Github", "Github", ("v0:1",), LATER, "2031-01-01T00:00:00Z", "{}")


def stamp(provider: str = "Github", *nullifiers: str, **changes: Any) -> Stamp:
    made = replace(_STAMP, provider=provider, credential_provider=provider, nullifiers=nullifiers or ("v0:1",))
    return replace(made, **changes)


def credential(**changes: Any) -> dict[str, Any]:
    subject = {"id": f"did:pkh:eip155:1:{ADDRESS}", "provider": "Github", "nullifiers": ["v0:1"]}
    subject.update(changes.pop("subject", {}))
    return {"issuer": ISSUER, "expirationDate": "2031-01-01T00:00:00Z", "credentialSubject": subject, **changes}


def stored(credential: Any, provider: str = "Github", number: int = 1) -> StoredStamp:
    return StoredStamp(number, provider, credential, "{}")
