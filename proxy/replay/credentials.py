"""Replaces digests in recorded requests by usable credentials, and old tokens by fresh ones. Pure: the time is an argument."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from comparator.exchanges.model import Request
from comparator.exchanges.redacted_text import REDACTED_VALUE
from proxy.config.replay import ReplaySettings
from proxy.journal.redaction import is_redacted
from proxy.replay.errors import CredentialError
from proxy.replay.jwt_signing import sign_again

PLACES_SHOWN: Final = 20
PLACES_MAX: Final = 1_000
BEARER: Final = "bearer "
_CREDENTIAL_NAME: Final = re.compile("auth|cookie|credential|key|passw|secret|session|signature|token", re.IGNORECASE)
_PLACEHOLDER: Final = re.compile(
    r"(?:(?:basic|bearer|digest|token)\s+)?"
    r"(?:[\[<({*_-]*(?:redacted|masked|filtered|hidden|removed|sanitized|scrubbed|secret|private)[\])>}*_-]*|[*.x•█]{3,})",
    re.IGNORECASE,
)
"""Values that other programs write in place of a credential, e.g. `Bearer [REDACTED]` or `********`."""


@dataclass(frozen=True, slots=True)
class RewrittenRequest:
    """A request ready to send.

    Attributes:
        request: with its credentials.
        replaced: digests and placeholders that were replaced by a value.
        unresolved: digests and placeholders that are still there, since no value is configured.
        signed: tokens that were signed again.
        missing: the places of those that are still there, each once: `header authorization`, `path`, `query` or `body`.
    """

    request: Request
    replaced: int = 0
    unresolved: int = 0
    signed: int = 0
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReplayCredentials:
    """The credentials to use.

    Attributes:
        values: by the digest that replaced them, `redacted:` included.
        key: for the signature of tokens; "" leaves them unchanged.
        algorithm: of the signature.
        lifetime_s: of tokens that do not have one.
        headers: values by lower-case name of a header, where its own value is gone.
    """

    values: Mapping[str, str]
    key: str = ""
    algorithm: str = "HS256"
    lifetime_s: int = 300
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    def rewrite(self, request: Request, *, now_s: int) -> RewrittenRequest:
        """Return the request with values for its digests, and with fresh tokens as of `now_s` (Unix seconds)."""
        plain = self.with_values(request)
        if not self.key:
            return plain
        signed = 0
        headers = list(plain.request.headers)
        for index, (name, value) in enumerate(headers):
            if name.lower() == "authorization" and value[: len(BEARER)].lower() == BEARER:
                token = self._signed(value[len(BEARER) :].strip(), now_s)
                signed += token != value[len(BEARER) :]
                headers[index] = (name, value[: len(BEARER)] + token)
        return (
            replace(plain, request=replace(plain.request, headers=tuple(headers)), signed=signed) if signed else plain
        )

    def _signed(self, token: str, now_s: int) -> str:
        return sign_again(token, key=self.key, algorithm=self.algorithm, now_s=now_s, lifetime_s=self.lifetime_s)

    def with_values(self, request: Request) -> RewrittenRequest:
        """Return the request with values for its digests and placeholders; tokens are left as they are."""
        if not is_redacted(request) and not any(_is_placeholder(*header) for header in request.headers):
            return RewrittenRequest(request)
        filling = _Filling(self.values)
        headers = tuple((name, self._header(name, value, filling)) for name, value in request.headers)
        path, mark, query = request.target.partition("?")
        target = filling.text(path, "path") + mark + filling.text(query, "query")
        # latin-1 maps each byte to one character, so everything but the digests is unchanged.
        body = filling.text(request.body.decode("latin-1"), "body", in_json=True).encode("latin-1", "replace")
        rewritten = replace(request, headers=headers, target=target, body=body)
        return RewrittenRequest(
            rewritten, replaced=filling.replaced, unresolved=filling.unresolved, missing=tuple(filling.missing)
        )

    def _header(self, name: str, value: str, filling: "_Filling") -> str:
        lower = name.lower()
        if lower in self.headers and (
            _is_placeholder(name, value) or any(digest not in self.values for digest in REDACTED_VALUE.findall(value))
        ):
            filling.replaced += 1
            return self.headers[lower]
        if _is_placeholder(name, value):
            filling.add_missing(f"header {lower}")
            return value
        return filling.text(value, f"header {lower}")


@dataclass(slots=True)
class _Filling:
    """Replaces the digests of one request, and counts."""

    values: Mapping[str, str]
    replaced: int = 0
    unresolved: int = 0
    missing: dict[str, None] = field(default_factory=dict[str, None])

    def text(self, text: str, place: str, *, in_json: bool = False) -> str:
        """Return a text with values for its digests; `place` names where it stands."""

        def value_of(match: re.Match[str]) -> str:
            value = self.values.get(match.group())
            if value is None:
                self.add_missing(place)
                return match.group()
            self.replaced += 1
            return json.dumps(value)[1:-1] if in_json else value

        return REDACTED_VALUE.sub(value_of, text)

    def add_missing(self, place: str) -> None:
        """Count a value that is gone."""
        self.unresolved += 1
        self.missing[place] = None


def _is_placeholder(name: str, value: str) -> bool:
    return _PLACEHOLDER.fullmatch(value.strip()) is not None and _CREDENTIAL_NAME.search(name) is not None


def credentials_of(settings: ReplaySettings, environ: Mapping[str, str]) -> ReplayCredentials:
    """Read the credentials from the environment.

    Raises:
        CredentialError: a variable is not set, or a digest is malformed.
    """
    for digest in settings.credentials:
        if not REDACTED_VALUE.fullmatch(digest):
            raise CredentialError(
                f"replay.credentials: {digest!r} is not a digest; write redacted: and its 32 hexadecimal digits"
            )
    jwt_names = [settings.jwt_key] if settings.jwt_key else []
    names = [*settings.credentials.values(), *settings.headers.values(), *jwt_names]
    missing = [name for name in names if not environ.get(name)]
    if missing:
        raise CredentialError(
            f"not set in the environment, but named by `replay` in the configuration: {', '.join(missing)}"
        )
    values = {digest: environ[name] for digest, name in settings.credentials.items()}
    key = environ[settings.jwt_key] if settings.jwt_key else ""
    headers = {name.lower(): environ[variable] for name, variable in settings.headers.items()}
    return ReplayCredentials(values, key, settings.jwt_algorithm, settings.jwt_lifetime_s, headers)


@dataclass(slots=True)
class MissingCredentials:
    """Requests whose credentials are gone, by route and place."""

    requests: int = 0
    places: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])

    def add(self, route: str, places: Iterable[str]) -> None:
        """Count one request."""
        places = tuple(places)
        self.requests += bool(places)
        for place in places:
            known = (route, place) in self.places or len(self.places) < PLACES_MAX
            self.places[(route, place) if known else ("(others)", "elsewhere")] += 1

    def __str__(self) -> str:
        """Return the count, e.g. `3 requests without credentials`."""
        return f"{self.requests} request{'' if self.requests == 1 else 's'} without credentials"

    def lines(self) -> list[str]:
        """Return lines that say which credentials are missing, and how to give them; none where none is missing."""
        if not self.requests:
            return []
        several = "request has" if self.requests == 1 else "requests have"
        lines = [f"{self.requests} {several} no credentials, and will probably be refused by the target:"]
        shown = self.places.most_common(PLACES_SHOWN)
        lines += [f"  {count:>6}  {route or '-'}  {place}" for (route, place), count in shown]
        if len(self.places) > len(shown):
            lines.append(f"  and {len(self.places) - len(shown)} more places")
        lines.append(
            "give them by replay.headers (name of a header: environment variable) or replay.credentials (digest: environment "
            "variable) in the configuration, or replay a journal whose key is at hand"
        )
        return lines
