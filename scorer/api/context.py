"""Typed keys of the app and of a request, set by the composition root, the middleware and `auth`."""

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from aiohttp import web

from scorer.credentials import CredentialVerifier
from scorer.db.api_keys import ApiKey
from scorer.db.pool import Database
from scorer.metrics import Metrics
from scorer.services import Services
from scorer.settings import ScorerSettings
from scorer.tracing import Tracing
from scorer.workflows.keys import KeyChecker
from scorer.workflows.scoring import Scorer

Clock = Callable[[], datetime]


class TokenReader(Protocol):
    """Reads the bearer tokens of the Passport app."""

    def address_of(self, token: str) -> str:
        """Return the last part of the token's did, lower case, not validated as an address.

        Raises:
            BearerTokenRefusedError: the token is refused; the text is the client's.
            UnanswerableError: the token is valid and has no did.
        """
        ...


class Limiter(Protocol):
    """Counts a request against its key's window."""

    async def count(self, key: ApiKey, *, group: str) -> None:
        """Count one request in `group` ("registry" or "analysis").

        Raises:
            RateLimitedError: the window's allowance is used up.
        """
        ...


SETTINGS = web.AppKey("settings", ScorerSettings)
DATABASE = web.AppKey("database", Database)
VERIFIER = web.AppKey[CredentialVerifier]("verifier")
METRICS = web.AppKey("metrics", Metrics)
TRACING = web.AppKey[Tracing]("tracing")
KEY_CHECKER = web.AppKey("key_checker", KeyChecker)
TOKEN_READER = web.AppKey[TokenReader]("token_reader")
LIMITER = web.AppKey[Limiter]("limiter")
SCORER = web.AppKey("scorer", Scorer)
SERVICES = web.AppKey("services", Services)
# The current time, aware and in UTC; tests set their own.
CLOCK = web.AppKey[Clock]("clock")

# The client's X-Request-Id, or "".
REQUEST_ID = web.RequestKey("request_id", str)
# Set by the auth kinds KEY_ASYNC and KEY_SYNC.
API_KEY = web.RequestKey("api_key", ApiKey)
# Set by the auth kind TOKEN.
TOKEN_ADDRESS = web.RequestKey("token_address", str)
