"""Authorize requests to the admin port by bearer token. The one module of the proxy that imports jwt.

There are four kinds of senders: the holder of a JWT with a role; the holder of the static admin token, an operator whose name is
taken on trust; the holder of the break-glass token, which allows a rollback and nothing else and needs neither a service nor a clock;
and, where none of these is configured, everyone who can reach the port.

Wrong tokens are counted by address. Beyond `failures_max` a minute they are refused with another status and no longer logged. A right
token always works, from the same address too: an attacker who guesses tokens must not be able to keep the operator on call out.
"""

import errno
import hmac
import logging
import threading
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, cast

import jwt

from proxy.config.rollout import AccessSettings
from proxy.errors import AccessDeniedError, ForbiddenError, TooManyFailuresError, UnauthenticatedError
from proxy.private_file import SMALL_MAX_BYTES

logger = logging.getLogger(__name__)

WINDOW_S: Final = 60.0
ADDRESSES_MAX: Final = 1_000
LEEWAY_S: Final = 30.0
READ_S: Final = 0.1
START_S: Final = 5.0
ACTOR_MAX: Final = 200
_PUBLIC_ALGORITHMS: Final = ("RS256", "PS256", "ES256", "EdDSA")


class Permission(StrEnum):
    """The permission that a request needs."""

    VIEW = "view"
    OPERATE = "operate"
    ROLL_BACK = "roll_back"


class AccessRole(StrEnum):
    """The roles of a JWT: a viewer may view, an operator may do everything."""

    VIEWER = "viewer"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Grant:
    """A permission that was granted.

    Attributes:
        name: of the person, if the token has one.
        address: of the sender.
        by_token: granted because of a token, and not because none is needed.
        break_glass: granted because of the break-glass token.
    """

    name: str | None
    address: str
    by_token: bool
    break_glass: bool = False

    def actor(self, claimed_name: str) -> str:
        """Return the name for the audit log: that of the token, else the one that the sender claims, else the address."""
        if self.name is not None:
            return self.name[:ACTOR_MAX]
        name = (claimed_name or self.address or "unknown")[:ACTOR_MAX]
        return f"{name} (break glass)" if self.break_glass else name


@dataclass(frozen=True, slots=True)
class Identity:
    """The holder of a right token: the name in it, None where it has none, and the role."""

    name: str | None
    role: AccessRole


@dataclass(frozen=True, slots=True)
class Credentials:
    """The credentials of a request: its bearer token, the sender's address, and the name that the sender claims."""

    token: str
    address: str
    claimed_name: str = ""


def bearer_token(authorization: str) -> str:
    """Return the token of an Authorization field, "" where it has another scheme. The scheme's case does not matter (RFC 9110)."""
    scheme, _, token = authorization.strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


class Authorizer:
    """Authorizes the requests of one process.

    Args:
        access: section `rollout.access`.
        admin_token: `admin.token`.
        now: a monotonic clock, in seconds.
    """

    def __init__(self, access: AccessSettings, admin_token: str, *, now: Callable[[], float]) -> None:
        self._access = access
        self._admin_token = admin_token
        self._now = now
        self._failures: dict[str, deque[float]] = {}
        self._keys = _JwksFile(Path(access.jwks_file)) if access.jwks_file else None

    @property
    def unrestricted(self) -> bool:
        """True when no credential is configured at all."""
        access = self._access
        return not (self._admin_token or access.jwt_secret or access.jwks_file or access.break_glass_token)

    @property
    def protects_reads(self) -> bool:
        """True when reading needs a token."""
        return self._access.protect_reads and not self.unrestricted

    def recognizes(self, token: str) -> bool:
        """Return whether a token is a right one, of any role. It allows nothing; requests without one are paced."""
        access = self._access
        if _equal(token, self._admin_token) or _equal(token, access.break_glass_token):
            return True
        try:
            return bool(self._claims(token))
        except UnauthenticatedError:
            return False

    def authorize(self, credentials: Credentials, permission: Permission) -> str:
        """Return the name of the actor, for the audit log; `grant` has the errors."""
        return self.grant(credentials, permission).actor(credentials.claimed_name)

    def grant(self, credentials: Credentials, permission: Permission) -> Grant:
        """Grant a permission.

        Raises:
            UnauthenticatedError: the token is missing, malformed, expired or signed with another key.
            ForbiddenError: the role of the token does not include the permission.
            TooManyFailuresError: the token is wrong, as too many others from this address were.
        """
        token, address = credentials.token, credentials.address
        if self.unrestricted or (permission is Permission.VIEW and not self.protects_reads):
            return Grant(None, address, by_token=False)
        if permission is Permission.ROLL_BACK and _equal(token, self._access.break_glass_token):
            return Grant(None, address, by_token=True, break_glass=True)
        if _equal(token, self._admin_token):
            return Grant(None, address, by_token=True)
        with self._counting_failures(credentials, permission):
            return Grant(self._actor_of(token, permission), address, by_token=True)

    def identify(self, credentials: Credentials) -> Identity:
        """Return the name and the role of a token's holder; everyone is an operator where no credential is configured.

        Raises:
            UnauthenticatedError: the token is missing, malformed, expired or signed with another key.
            ForbiddenError: the token names no actor, or has no role here; so does the break-glass token.
            TooManyFailuresError: the token is wrong, as too many others from this address were.
        """
        if self.unrestricted or _equal(credentials.token, self._admin_token):
            return Identity(None, AccessRole.OPERATOR)
        with self._counting_failures(credentials, Permission.VIEW):
            actor, roles = self._person(credentials.token)
            role = next((one for one in (AccessRole.OPERATOR, AccessRole.VIEWER) if one in roles), None)
            if role is None:
                raise ForbiddenError(f"{actor} has neither the role {AccessRole.VIEWER} nor {AccessRole.OPERATOR}")
            return Identity(actor[:ACTOR_MAX], role)

    @contextmanager
    def _counting_failures(self, credentials: Credentials, permission: Permission) -> Generator[None]:
        """Count an access that is denied in the block by address, and refuse those of an address with too many."""
        try:
            yield
        except UnauthenticatedError as error:
            if self._exhausted(credentials.address):
                raise TooManyFailuresError(
                    "the token is wrong, as were too many before it from this address: wait a minute"
                ) from error
            self._count_failure(credentials, permission, error)
            raise
        except AccessDeniedError as error:
            self._count_failure(credentials, permission, error)
            raise

    def _actor_of(self, token: str, permission: Permission) -> str:
        actor, roles = self._person(token)
        if AccessRole.OPERATOR in roles or (AccessRole.VIEWER in roles and permission is Permission.VIEW):
            return actor
        needed = AccessRole.VIEWER if permission is Permission.VIEW else AccessRole.OPERATOR
        raise ForbiddenError(f"{actor} may not {permission}: it needs the role {needed}")

    def _person(self, token: str) -> tuple[str, list[object]]:
        """Return the actor and the roles that a JWT names."""
        if not token:
            raise UnauthenticatedError("a bearer token is needed")
        claims = self._claims(token)
        role, actor = claims.get(self._access.role_claim), claims.get(self._access.actor_claim)
        if not isinstance(actor, str) or not actor:
            raise ForbiddenError(f"the token names no actor: it has no claim {self._access.actor_claim!r}")
        return actor, cast("list[object]", role) if isinstance(role, list) else [role]

    def _claims(self, token: str) -> dict[str, Any]:
        # The configured kind of key decides which algorithms are accepted, never the token alone: a token that says HS256 must not
        # be verified with a public key as the shared secret.
        try:
            algorithm = jwt.get_unverified_header(token).get("alg", "")
            if algorithm == "HS256" and self._access.jwt_secret:
                return self._decoded(token, self._access.jwt_secret, ("HS256",))
            if algorithm in _PUBLIC_ALGORITHMS and self._keys:
                return self._decoded(token, self._keys.key_of(token), (algorithm,))
        except Exception as error:
            # The sender chooses the header of the token, and with it which code of other libraries runs: RS256 with the id of an EC key
            # is an AttributeError of cryptography, a key id that is a list a TypeError. Whatever it is, the token is not accepted.
            why = f": {error}" if isinstance(error, jwt.PyJWTError) else ""
            raise UnauthenticatedError(f"the token is not accepted{why}") from error
        raise UnauthenticatedError("the token is not accepted")

    def _decoded(self, token: str, key: Any, algorithms: tuple[str, ...]) -> dict[str, Any]:
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

    def _count_failure(self, credentials: Credentials, permission: Permission, error: AccessDeniedError) -> None:
        address = credentials.address
        if address not in self._failures and len(self._failures) >= ADDRESSES_MAX:
            self._failures.pop(next(iter(self._failures)))
        self._failures.setdefault(address, deque(maxlen=self._access.failures_max)).append(self._now())
        logger.warning("access_denied", extra={"address": address, "permission": permission.value, "error": str(error)})


class _JwksFile:
    """The public keys of a JWKS file; read again when the file has changed.

    A thread reads. A disk that hangs delays one request by READ_S, and the others not at all: the keys that are known stay.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_ns = -1
        self._keys: dict[str | None, Any] = {}
        self._error: Exception | None = None
        self._reader = self._start_reading(START_S)

    def key_of(self, token: str) -> Any:
        """Return the key with the id in the token's header (`kid`).

        Raises:
            jwt.PyJWTError: there is no such key.
            OSError: the file cannot be read.
        """
        if not self._reader.is_alive():
            self._reader = self._start_reading(READ_S)
        if self._error is not None:
            raise self._error
        identity = jwt.get_unverified_header(token).get("kid")
        if identity not in self._keys:
            raise jwt.InvalidKeyError("no key has this id")
        return self._keys[identity]

    def _start_reading(self, wait_s: float) -> threading.Thread:
        reader = threading.Thread(target=self._read, name="jwks-reader", daemon=True)
        reader.start()
        reader.join(wait_s)
        return reader

    def _read(self) -> None:
        """Read the file if it has changed. The outermost function of its thread."""
        try:
            changed_ns = self._path.stat().st_mtime_ns
            if changed_ns != self._read_ns:
                self._keys = _read_keys(self._path)
                self._read_ns = changed_ns
            self._error = None
        except Exception as error:  # noqa: BLE001 (for the request that needs the key)
            self._error = error


def _read_keys(path: Path) -> dict[str | None, Any]:
    """Read a JWKS file; waits as long as its disk does, but not for the end of what has none."""
    with path.open("rb") as file:
        data = file.read(SMALL_MAX_BYTES + 1)
    if len(data) > SMALL_MAX_BYTES:
        raise OSError(errno.EFBIG, f"larger than {SMALL_MAX_BYTES} bytes", str(path))
    return {key.key_id: key.key for key in jwt.PyJWKSet.from_json(data.decode()).keys}


def _equal(given: str, expected: str) -> bool:
    """Compare two tokens in constant time; an expected token that is empty equals nothing.

    Bytes of a field that are not UTF-8 are lone surrogates in the text, which need `surrogateescape`.
    """
    return bool(expected) and hmac.compare_digest(
        given.encode(errors="surrogateescape"), expected.encode(errors="surrogateescape")
    )
