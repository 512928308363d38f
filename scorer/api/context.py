"""What handlers find on the app and on the request: typed keys, filled by the composition root and by `auth`."""

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
        """The lower-case last part of the token's did; not validated as an address.

        Raises:
            BearerTokenRefusedError: with the text the API shows.
            UnanswerableError: the token is valid and has no did.
        """
        ...


class Limiter(Protocol):
    """Counts a request against its key's window."""

    async def count(self, key: ApiKey, *, group: str) -> None:
        """Count one request in `group` ("registry" or "analysis").

        Raises:
            RateLimitedError: the window is used up.
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
# The current time, aware and in UTC; tests put their own.
CLOCK = web.AppKey[Clock]("clock")

# The X-Request-Id the client sent, "" without one.
REQUEST_ID = web.RequestKey("request_id", str)
# Set by the auth kinds KEY_ASYNC and KEY_SYNC.
API_KEY = web.RequestKey("api_key", ApiKey)
# Set by the auth kind TOKEN.
TOKEN_ADDRESS = web.RequestKey("token_address", str)
