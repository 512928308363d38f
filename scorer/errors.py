"""What can go wrong in the scorer, one class a cause. The text is what the client reads in `detail`; statuses are in `api/responses`.

ScorerError
├── SettingsError                  the environment is wrong; nothing was started (the operator's fault)
├── MigrationError                 a migration changed after it was applied (the operator's fault)
├── DatabaseNotEmptyError          a synthetic population wants an empty database (the operator's fault)
├── RequestError                   the client's fault
│   ├── ApiKeyRefusedError         no, unknown, wrong or (where that counts) revoked API key
│   ├── InternalTokenRefusedError  the internal endpoints' token is missing or wrong
│   ├── BearerTokenRefusedError    the JWT is missing or refused; the text says why
│   ├── PermissionRefusedError     the key may not use the history
│   ├── RateLimitedError           the key's window is used up
│   ├── AddressInvalidError        not an Ethereum address
│   ├── BadInputError              input that is well-formed and makes no sense; the text says why
│   ├── BodyUnreadableError        the body is no JSON
│   ├── BodyTooLargeError          the body is over the cap
│   ├── ValidationError            pydantic-worded list of what is wrong where
│   ├── StampsTooManyError         more than 100 stamps or proof values
│   └── NotFoundError              what the request names does not exist; the text says what
├── ScorerUnavailableError         the community's scorer rows are broken
├── ServiceFailedError             a step failed in a way the API names; the text is the API's
├── UpstreamFailedError            a service we ask did not answer as it should (its operator's fault)
├── StoreUnavailableError          the shared store did not answer; always handled, requests go on without it
├── UnanswerableError              input the API answers with its plain 500 page
└── ScoringError                   the address cannot be scored; the text is stored in the score row
    └── LinksContestedError        other addresses won the race for the nullifiers five times
"""

from collections.abc import Sequence
from typing import Any


class ScorerError(Exception):
    """Root of this package's errors."""


class ScorerSettingsError(ScorerError):
    """The environment is wrong; the message names the variable."""


class MigrationError(ScorerError):
    """An applied migration is not the file of that name any more."""


class DatabaseNotEmptyError(ScorerError):
    """A synthetic population was to be written beside existing accounts."""


class RequestError(ScorerError):
    """The client's fault; the text is for the client."""

    text = ""

    def __init__(self, text: str = "") -> None:
        super().__init__(text or self.text)


class ApiKeyRefusedError(RequestError):
    """No, unknown, wrong or (where that counts) revoked API key."""

    text = "Invalid API Key."


class InternalTokenRefusedError(RequestError):
    """The internal endpoints' token is missing or wrong."""

    text = "Unauthorized"


class BearerTokenRefusedError(RequestError):
    """The JWT is missing or refused."""

    text = "Unauthorized"


class PermissionRefusedError(RequestError):
    """The key may not use the history."""

    text = "Invalid permissions for action."


class RateLimitedError(RequestError):
    """The key's window is used up."""

    text = "You have been rate limited!"


class AddressInvalidError(RequestError):
    """Not an Ethereum address."""

    text = "Invalid address."


class BadInputError(RequestError):
    """Well-formed input that makes no sense; the text says why."""


class BodyUnreadableError(RequestError):
    """The body is no JSON."""

    text = "Cannot parse request body"


class BodyTooLargeError(RequestError):
    """The body is over the cap."""

    text = "Request body is too large."


class ValidationError(RequestError):
    """What is wrong where, each item {"type", "loc", "msg"[, "ctx"]} in pydantic's words."""

    def __init__(self, items: Sequence[dict[str, Any]]) -> None:
        super().__init__("validation failed")
        self.items = list(items)


class StampsTooManyError(RequestError):
    """More than 100 stamps or proof values in one request."""

    text = "You have submitted too many stamps."


class NotFoundError(RequestError):
    """What the request names does not exist; `extra` joins `detail` in the body."""

    text = "Not Found"

    def __init__(self, text: str = "", **extra: str) -> None:
        super().__init__(text)
        self.extra = extra


class ScorerUnavailableError(ScorerError):
    """The community's scorer rows are broken: no row of its type, or an unknown type."""


class ServiceFailedError(ScorerError):
    """A step failed in a way the API names: 500 with this text in `detail`."""


class UpstreamFailedError(ScorerError):
    """A service we ask did not answer as it should; `status` is its HTTP status, 500 when there was none."""

    def __init__(self, text: str, *, status: int = 500) -> None:
        super().__init__(text)
        self.status = status


class StoreUnavailableError(ScorerError):
    """The shared store did not answer in time; always handled, requests go on without it."""


class UnanswerableError(ScorerError):
    """Input that the API answers with its plain 500 page; nothing of it was stored."""


class ScoringError(ScorerError):
    """The address cannot be scored; the text is stored in the score row with status ERROR."""


class LinksContestedError(ScoringError):
    """Other addresses won the race for the nullifiers in every attempt."""
