"""Authenticate clients: one strategy for each auth kind, run before the handler and before any validation.

Observed of the legacy: its two authenticators of API keys differ. KEY_ASYNC refuses revoked keys and replaces a demo alias only in
X-API-Key; KEY_SYNC accepts revoked keys and replaces aliases in both headers.
"""

import hmac
from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum

from aiohttp import web

from scorer.api.context import API_KEY, KEY_CHECKER, SETTINGS, TOKEN_ADDRESS, TOKEN_READER
from scorer.domain.token_claims import bearer_token
from scorer.errors import ApiKeyRefusedError, BearerTokenRefusedError, InternalTokenRefusedError

Strategy = Callable[[web.Request], Awaitable[None]]


class Auth(StrEnum):
    """The ways in which a route authenticates its client."""

    NONE = "none"
    KEY_ASYNC = "key-a"
    KEY_SYNC = "key-s"
    INTERNAL = "internal"
    TOKEN = "token"  # noqa: S105 (the name of a kind, not a token)


def header(request: web.Request, name: str) -> str:
    """Return a header's text, or ""; bytes that are not UTF-8 become replacement characters, which match nothing."""
    return request.headers.get(name, "").encode("utf-8", "surrogateescape").decode("utf-8", "replace")


async def _no_authentication(_request: web.Request) -> None:
    return


async def _key_async(request: web.Request) -> None:
    key = _replace_alias(request, header(request, "X-API-Key")) or _authorization_credentials(request)
    await _check_key(request, key, refuse_revoked=True)


async def _key_sync(request: web.Request) -> None:
    key = _replace_alias(request, header(request, "X-API-Key") or _authorization_credentials(request))
    await _check_key(request, key, refuse_revoked=False)


async def _internal(request: web.Request) -> None:
    given = header(request, "Authorization").encode()
    if not hmac.compare_digest(given, request.app[SETTINGS].internal_token.encode()):
        raise InternalTokenRefusedError


async def _token(request: web.Request) -> None:
    token = bearer_token(header(request, "Authorization"))
    if token is None:
        raise BearerTokenRefusedError
    request[TOKEN_ADDRESS] = request.app[TOKEN_READER].address_of(token)


STRATEGIES: Mapping[Auth, Strategy] = {
    Auth.NONE: _no_authentication,
    Auth.KEY_ASYNC: _key_async,
    Auth.KEY_SYNC: _key_sync,
    Auth.INTERNAL: _internal,
    Auth.TOKEN: _token,
}


async def _check_key(request: web.Request, key: str, *, refuse_revoked: bool) -> None:
    if not key:
        raise ApiKeyRefusedError
    request[API_KEY] = await request.app[KEY_CHECKER].check(key, refuse_revoked=refuse_revoked)


def _replace_alias(request: web.Request, key: str) -> str:
    demo = request.app[SETTINGS].demo
    return demo.api_key if demo.api_key and key in demo.aliases else key


def _authorization_credentials(request: web.Request) -> str:
    parts = header(request, "Authorization").split()
    return parts[1] if len(parts) > 1 else ""
