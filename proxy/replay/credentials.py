"""Replaces digests in recorded requests by usable credentials, and old tokens by fresh ones. Pure: the time is an argument."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from comparator.exchanges.model import Request
from comparator.exchanges.redacted_text import REDACTED_VALUE
from proxy.config.replay import ReplaySettings
from proxy.journal.redaction import is_redacted
from proxy.replay.errors import CredentialError
from proxy.replay.jwt_signing import sign_again

BEARER: Final = "bearer "


@dataclass(frozen=True, slots=True)
class RewrittenRequest:
    """A request ready to send.

    Attributes:
        request: with its credentials.
        replaced: digests that were replaced by a value.
        unresolved: digests that are still there, since no value is configured.
        signed: tokens that were signed again.
    """

    request: Request
    replaced: int = 0
    unresolved: int = 0
    signed: int = 0


@dataclass(frozen=True, slots=True)
class ReplayCredentials:
    """The credentials to use.

    Attributes:
        values: by the digest that replaced them, `redacted:` included.
        key: for the signature of tokens; "" leaves them unchanged.
        algorithm: of the signature.
        lifetime_s: of tokens that do not have one.
    """

    values: Mapping[str, str]
    key: str = ""
    algorithm: str = "HS256"
    lifetime_s: int = 300

    def rewrite(self, request: Request, *, now_s: int) -> RewrittenRequest:
        """Return the request with values for its digests, and with fresh tokens as of `now_s` (Unix seconds)."""
        plain = self._with_values(request) if is_redacted(request) else RewrittenRequest(request)
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

    def _with_values(self, request: Request) -> RewrittenRequest:
        count = {True: 0, False: 0}

        def value_of(match: re.Match[str]) -> str:
            known = match.group() in self.values
            count[known] += 1
            return self.values.get(match.group(), match.group())

        def json_text(match: re.Match[str]) -> str:
            return json.dumps(value_of(match))[1:-1]

        headers = tuple((name, REDACTED_VALUE.sub(value_of, value)) for name, value in request.headers)
        target = REDACTED_VALUE.sub(value_of, request.target)
        # latin-1 maps each byte to one character, so everything but the digests is unchanged.
        body = REDACTED_VALUE.sub(json_text, request.body.decode("latin-1")).encode("latin-1")
        rewritten = replace(request, headers=headers, target=target, body=body)
        return RewrittenRequest(rewritten, replaced=count[True], unresolved=count[False])


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
    names = [*settings.credentials.values(), *([settings.jwt_key] if settings.jwt_key else [])]
    missing = [name for name in names if not environ.get(name)]
    if missing:
        raise CredentialError(
            f"not set in the environment, but named by `replay` in the configuration: {', '.join(missing)}"
        )
    values = {digest: environ[name] for digest, name in settings.credentials.items()}
    key = environ[settings.jwt_key] if settings.jwt_key else ""
    return ReplayCredentials(values, key, settings.jwt_algorithm, settings.jwt_lifetime_s)
