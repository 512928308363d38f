"""API keys: the header that counts, the check of a key, and the migration from PBKDF2 to SHA-256."""

import hashlib

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth.hashers import PBKDF2PasswordHasher

from tests.legacy.models import ApiKey


def presented(headers) -> str:
    """Return the key text: X-API-Key (demo aliases replaced), else the second word of Authorization, else empty."""
    key = headers.get("X-API-Key", "")
    if key:
        return settings.DEMO_API_KEY if key in settings.DEMO_API_KEY_ALIASES else key
    words = headers.get("Authorization", "").split()
    return words[1] if len(words) > 1 else ""


def check(key: str) -> ApiKey | None:
    """Return the unrevoked row of the key; a first success against PBKDF2 stores the SHA-256."""
    row = ApiKey.objects.filter(prefix=key.partition(".")[0], revoked=False).first() if key else None
    if row is None:
        return None
    digest = "sha256$" + hashlib.sha256(key.encode()).hexdigest()
    if row.hashed_key_sha256:
        return row if row.hashed_key_sha256 == digest else None
    if row.hashed_key.startswith("sha256$"):
        return row if row.hashed_key == digest else None
    if not row.hashed_key.startswith("pbkdf2_sha256$") or not PBKDF2PasswordHasher().verify(key, row.hashed_key):
        return None
    row.hashed_key_sha256 = digest
    row.save(update_fields=["hashed_key_sha256"])
    return row


@sync_to_async
def authenticate(headers) -> ApiKey | None:
    """Return the row of the presented key with its account and user (one SELECT each), or None."""
    row = check(presented(headers))
    if row is not None:
        _ = row.account.user
    return row
