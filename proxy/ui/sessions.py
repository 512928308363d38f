"""Sign people in with the tokens of the control port, and recognize them by a sealed cookie afterwards.

The cookie is the session: name and token of the person, encrypted and signed (Fernet). Nothing is kept in memory, so that a restart and a
second UI behind the same load balancer sign no one out. The key is derived from the secrets in config.yaml; where public keys alone are
configured, or nothing, each process makes its own key. The token is verified again with every request, so that one that has expired ends
the session.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec
from cryptography.fernet import Fernet, InvalidToken

from proxy.config.settings import Settings
from proxy.errors import AccessDeniedError
from proxy.rollout.auth import AccessRole, Authorizer, Credentials

NAME_MAX: Final = 100


class _Sealed(msgspec.Struct, frozen=True):
    """The content of a cookie."""

    id: str
    token: str
    name: str


@dataclass(frozen=True, slots=True)
class UiSession:
    """A person who is signed in.

    Attributes:
        name: the name for the audit log: that in the token, else the one that the person gave.
        role: viewer or operator.
        token: the person's token, which requests to the proxies carry; "" where none is needed.
        form_token: a secret of this session, which each form repeats.
    """

    name: str
    role: AccessRole
    token: str
    form_token: str

    @property
    def may_operate(self) -> bool:
        """True for an operator."""
        return self.role is AccessRole.OPERATOR


class Sessions:
    """Makes and opens session cookies.

    Args:
        authorizer: verifies tokens, as that of the control port does.
        key: 32 bytes to seal cookies with.
        lifetime_s: time after which a cookie is no longer accepted.
        default_name: name of a person who gave none.
        now: Unix time in seconds.
    """

    def __init__(
        self, authorizer: Authorizer, *, key: bytes, lifetime_s: float, default_name: str, now: Callable[[], float]
    ) -> None:
        self._authorizer = authorizer
        self._fernet = Fernet(base64.urlsafe_b64encode(key))
        self._key = key
        self._default_name = default_name
        self._now = now
        self.lifetime_s = lifetime_s

    @property
    def open_to_all(self) -> bool:
        """True when no one has to sign in, because no credential is configured."""
        return self._authorizer.unrestricted

    def sign_in(self, token: str, name: str, address: str) -> str:
        """Verify a token and return the cookie of a new session.

        Raises:
            AccessDeniedError: the token is not accepted, or names no role.
        """
        self._authorizer.identify(Credentials(token, address))
        sealed = _Sealed(secrets.token_hex(16), token, name.strip()[:NAME_MAX])
        return self._fernet.encrypt_at_time(msgspec.json.encode(sealed), int(self._now())).decode()

    def open(self, cookie: str, address: str) -> UiSession | None:
        """Return the session of a cookie; None when it is not one of ours, too old, or its token is no longer accepted."""
        try:
            body = self._fernet.decrypt_at_time(cookie.encode(), int(self.lifetime_s), int(self._now()))
            sealed = msgspec.json.decode(body, type=_Sealed)
            identity = self._authorizer.identify(Credentials(sealed.token, address))
        except (InvalidToken, UnicodeEncodeError, msgspec.MsgspecError, AccessDeniedError):
            return None
        name = identity.name or sealed.name or self._default_name
        return UiSession(name, identity.role, sealed.token, self._form_token(sealed.id))

    def _form_token(self, identity: str) -> str:
        return hmac.new(self._key, f"form {identity}".encode(), hashlib.sha256).hexdigest()


def session_key(settings: Settings) -> bytes:
    """Derive the key of session cookies from the secrets of a configuration; a random one where it has none."""
    configured = (settings.admin.token, settings.rollout.access.jwt_secret)
    if not any(configured):
        return secrets.token_bytes(32)
    return hashlib.blake2b("\0".join(configured).encode(), digest_size=32, person=b"shadow ui").digest()
