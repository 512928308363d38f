"""The scorer's errors, one class a cause. The text is the client's `detail`; the HTTP statuses are in `api/responses`.

ScorerError
├── ScorerSettingsError            the environment is wrong; nothing was started (the operator's fault)
├── MigrationError                 a migration file changed after it was applied (the operator's fault)
├── DatabaseNotEmptyError          a synthetic population was to be written into a used database (the operator's fault)
├── RequestError                   the client's fault
│   ├── ApiKeyRefusedError         no, unknown, wrong or (where that counts) revoked API key
│   ├── InternalTokenRefusedError  the internal endpoints' token is missing or wrong
│   ├── BearerTokenRefusedError    the JWT is missing or refused; the text says why
│   ├── PermissionRefusedError     the key may not use the history
│   ├── RateLimitedError           the key's window is used up
│   ├── AddressInvalidError        not an Ethereum address
│   ├── BadInputError              well-formed input that is refused; the text says why
│   ├── BodyUnreadableError        the body is not JSON
│   ├── BodyTooLargeError          the body exceeds the size limit
│   ├── ValidationError            the list of invalid fields in pydantic's format
│   ├── StampsTooManyError         more than 100 stamps or proof values
│   └── NotFoundError              the named object does not exist; the text says which
├── ScorerUnavailableError         the community's scorer rows are broken
├── ServiceFailedError             500 with a text that the API defines
├── UpstreamFailedError            an upstream service failed (its operator's fault)
├── SharedStoreUnavailableError    the shared store did not answer; always handled, requests go on without it
├── UnanswerableError              input that gets the plain 500 page
└── ScoringError                   the address cannot be scored; the text is stored in the score row
    └── LinksContestedError        other addresses won the race for the nullifiers in every attempt
"""

from collections.abc import Sequence
from typing import Any


class ScorerError(Exception):
    """Root of this package's errors."""


class ScorerSettingsError(ScorerError):
    """The environment is wrong; the message names the variable."""


class MigrationError(ScorerError):
    """The file of an applied migration has changed since."""


class DatabaseNotEmptyError(ScorerError):
    """A synthetic population was to be written into a database that has accounts."""


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
    """Well-formed input that is refused; the text says why."""


class BodyUnreadableError(RequestError):
    """The body is not JSON."""

    text = "Cannot parse request body"


class BodyTooLargeError(RequestError):
    """The body exceeds the size limit."""

    text = "Request body is too large."


class ValidationError(RequestError):
    """Invalid fields, each item {"type", "loc", "msg"[, "ctx"]} in pydantic's words."""

    def __init__(self, items: Sequence[dict[str, Any]]) -> None:
        super().__init__("validation failed")
        self.items = list(items)


class StampsTooManyError(RequestError):
    """More than 100 stamps or proof values in one request."""

    text = "You have submitted too many stamps."


class NotFoundError(RequestError):
    """The object that the request names does not exist; `extra` stands beside `detail` in the body."""

    text = "Not Found"

    def __init__(self, text: str = "", **extra: str) -> None:
        super().__init__(text)
        self.extra = extra


class ScorerUnavailableError(ScorerError):
    """The community's scorer rows are broken: no row of its type, or an unknown type."""


class ServiceFailedError(ScorerError):
    """A step failed in a way that the API defines: 500 with this text in `detail`."""


class UpstreamFailedError(ScorerError):
    """An upstream service failed; `status` is its HTTP status, or 500 if it sent no usable response."""

    def __init__(self, text: str, *, status: int = 500) -> None:
        super().__init__(text)
        self.status = status


class SharedStoreUnavailableError(ScorerError):
    """The shared store did not answer in time; always handled, requests go on without it."""


class UnanswerableError(ScorerError):
    """Input that gets the plain 500 page of the API; nothing of it was stored."""


class ScoringError(ScorerError):
    """The address cannot be scored; the text is stored in the score row with status ERROR."""


class LinksContestedError(ScoringError):
    """Other addresses won the race for the nullifiers in every attempt."""
