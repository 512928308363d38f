"""Who may look, change, or only roll back: bearer tokens on the admin port. The one module of the proxy that imports jwt.

Four kinds of clients: a JWT with a role, the static admin token (an operator whose name is taken on trust), the break-glass token
(rollback and nothing else, needs no service and no clock), and, where none of these is configured, whoever reaches the port.
Wrong tokens are counted by address; beyond a number a minute they are refused without a look, but a right break-glass token is
always taken: whoever guesses tokens must not be able to keep the person on call from rolling back.
"""

import hmac
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, cast

import jwt

from proxy.config.rollout import AccessSettings
from proxy.errors import AccessDeniedError

logger = logging.getLogger(__name__)

WINDOW_S: Final = 60.0
ADDRESSES_MAX: Final = 1_000
LEEWAY_S: Final = 30.0
ACTOR_MAX: Final = 200
_PUBLIC_ALGORITHMS: Final = ("RS256", "PS256", "ES256", "EdDSA")


class Permission(StrEnum):
    """What a request wants to do."""

    VIEW = "view"
    OPERATE = "operate"
    ROLL_BACK = "roll_back"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request shows of its sender: the token, the address, and the name it gives itself."""

    token: str
    address: str
    claimed: str = ""


class Authorizer:
    """Decides on each request of one process.

    Args:
        access: section `rollout.access`.
        admin_token: `admin.token`.
        now: a clock in seconds that never goes back.
    """

    def __init__(self, access: AccessSettings, admin_token: str, *, now: Callable[[], float]) -> None:
        self._access = access
        self._admin_token = admin_token
        self._now = now
        self._failures: dict[str, deque[float]] = {}
        self._keys = _JwksFile(Path(access.jwks_file)) if access.jwks_file else None

    @property
    def unrestricted(self) -> bool:
        """Whether no credential is configured at all."""
        access = self._access
        return not (self._admin_token or access.jwt_secret or access.jwks_file or access.break_glass_token)

    @property
    def protects_reads(self) -> bool:
        """Whether reading needs a token."""
        return self._access.protect_reads and not self.unrestricted

    def authorize(self, presented: Credentials, need: Permission) -> str:
        """The actor, if this may be done.

        Raises:
            AccessError: it may not; 401 without or with a wrong token, 403 with too small a role, 429 after too many wrong ones.
        """
        claimed = (presented.claimed or presented.address or "unknown")[:ACTOR_MAX]
        if self.unrestricted or (need is Permission.VIEW and not self.protects_reads):
            return claimed
        if need is Permission.ROLL_BACK and _same(presented.token, self._access.break_glass_token):
            return f"{claimed} (break glass)"
        if self._exhausted(presented.address):
            raise AccessDeniedError(429, "too many wrong tokens from this address: wait a minute")
        if _same(presented.token, self._admin_token):
            return claimed
        try:
            return self._actor_of(presented.token, need)
        except AccessDeniedError as error:
            self._failed(presented, need, error)
            raise

    def _actor_of(self, token: str, need: Permission) -> str:
        if not token:
            raise AccessDeniedError(401, "a bearer token is needed")
        claims = self._claims(token)
        role, actor = claims.get(self._access.role_claim), claims.get(self._access.actor_claim)
        roles = cast("list[object]", role) if isinstance(role, list) else [role]
        if not isinstance(actor, str) or not actor:
            raise AccessDeniedError(403, f"the token names nobody: it has no claim {self._access.actor_claim!r}")
        if "operator" in roles or ("viewer" in roles and need is Permission.VIEW):
            return actor[:ACTOR_MAX]
        raise AccessDeniedError(
            403, f"{actor} may not {need}: it needs the role {'viewer' if need is Permission.VIEW else 'operator'}"
        )

    def _claims(self, token: str) -> dict[str, Any]:
        try:
            algorithm = jwt.get_unverified_header(token).get("alg", "")
            if algorithm == "HS256" and self._access.jwt_secret:
                return self._decoded(token, self._access.jwt_secret, ("HS256",))
            if algorithm in _PUBLIC_ALGORITHMS and self._keys:
                return self._decoded(token, self._keys.of(token), (algorithm,))
        except (jwt.PyJWTError, OSError, ValueError) as error:
            raise AccessDeniedError(401, f"the token is not accepted: {error}") from error
        raise AccessDeniedError(401, "the token is not accepted")

    def _decoded(self, token: str, key: Any, algorithms: tuple[str, ...]) -> dict[str, Any]:
        # The algorithm was chosen by which kind of key is configured, never by the token alone.
        access = self._access
        return jwt.decode(
            token,
            key,
            algorithms=list(algorithms),
            leeway=LEEWAY_S,
            issuer=access.issuer or None,
            audience=access.audience or None,
            options={"require": ["exp"], "verify_aud": bool(access.audience), "verify_iss": bool(access.issuer)},
        )

    def _exhausted(self, address: str) -> bool:
        times = self._failures.get(address)
        while times and times[0] <= self._now() - WINDOW_S:
            times.popleft()
        return times is not None and len(times) >= self._access.failures_max

    def _failed(self, presented: Credentials, need: Permission, error: AccessDeniedError) -> None:
        if presented.address not in self._failures and len(self._failures) >= ADDRESSES_MAX:
            self._failures.pop(next(iter(self._failures)))
        self._failures.setdefault(presented.address, deque(maxlen=self._access.failures_max)).append(self._now())
        logger.warning("access_denied", extra={"address": presented.address, "need": need.value, "error": str(error)})


class _JwksFile:
    """Public keys of a JWKS file; read again when the file changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_ns = -1
        self._keys: dict[str | None, Any] = {}

    def of(self, token: str) -> Any:
        """The key that the token says it was signed with."""
        changed_ns = self._path.stat().st_mtime_ns
        if changed_ns != self._read_ns:
            found = jwt.PyJWKSet.from_json(self._path.read_text())
            self._keys = {key.key_id: key.key for key in found.keys}
            self._read_ns = changed_ns
        identity = jwt.get_unverified_header(token).get("kid")
        if identity not in self._keys:
            raise jwt.InvalidKeyError("no key has this id")
        return self._keys[identity]


def _same(given: str, expected: str) -> bool:
    """Compared in constant time; an expected token that is empty equals nothing."""
    return bool(expected) and hmac.compare_digest(given.encode(), expected.encode())
