"""Puts usable credentials where a recording has digests, and fresh tokens where it has old ones. Pure: the time is an argument."""

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
from proxy.replay.jwt_signing import signed_again

BEARER: Final = "bearer "


@dataclass(frozen=True, slots=True)
class RewrittenRequest:
    """A request ready to send; how many digests got their value, how many had none, how many tokens were signed."""

    request: Request
    opened: int = 0
    left: int = 0
    signed: int = 0


@dataclass(frozen=True, slots=True)
class ReplayCredentials:
    """What to put in place. `values` by digest; `key` "" leaves tokens as they are."""

    values: Mapping[str, str]
    key: str = ""
    algorithm: str = "HS256"
    lifetime_s: int = 300

    def rewrite(self, request: Request, *, now_s: int) -> RewrittenRequest:
        """The request with everything in place."""
        plain = self._opened(request) if is_redacted(request) else RewrittenRequest(request)
        if not self.key:
            return plain
        signed = 0
        headers = list(plain.request.headers)
        for index, (name, value) in enumerate(headers):
            if name.lower() == "authorization" and value[: len(BEARER)].lower() == BEARER:
                fresh = self._signed(value[len(BEARER) :].strip(), now_s)
                signed += fresh != value[len(BEARER) :]
                headers[index] = (name, value[: len(BEARER)] + fresh)
        return (
            replace(plain, request=replace(plain.request, headers=tuple(headers)), signed=signed) if signed else plain
        )

    def _signed(self, token: str, now_s: int) -> str:
        return signed_again(token, key=self.key, algorithm=self.algorithm, now_s=now_s, lifetime_s=self.lifetime_s)

    def _opened(self, request: Request) -> RewrittenRequest:
        count = {True: 0, False: 0}

        def value_of(match: re.Match[str]) -> str:
            known = match.group() in self.values
            count[known] += 1
            return self.values.get(match.group(), match.group())

        def json_text(match: re.Match[str]) -> str:
            return json.dumps(value_of(match))[1:-1]

        headers = tuple((name, REDACTED_VALUE.sub(value_of, value)) for name, value in request.headers)
        target = REDACTED_VALUE.sub(value_of, request.target)
        # latin-1 gives each byte one character, so that what is no digest passes as it is.
        body = REDACTED_VALUE.sub(json_text, request.body.decode("latin-1")).encode("latin-1")
        opened = replace(request, headers=headers, target=target, body=body)
        return RewrittenRequest(opened, opened=count[True], left=count[False])


def credentials_of(settings: ReplaySettings, environ: Mapping[str, str]) -> ReplayCredentials:
    """Look the variables up.

    Raises:
        CredentialError: one is not set, or a digest is none.
    """
    for digest in settings.credentials:
        if not REDACTED_VALUE.fullmatch(digest):
            raise CredentialError(f"replay.credentials: {digest!r} is not redacted:<32 hex digits>")
    names = [*settings.credentials.values(), *([settings.jwt_key] if settings.jwt_key else [])]
    missing = [name for name in names if not environ.get(name)]
    if missing:
        raise CredentialError(f"replay: the environment has no {', '.join(missing)}")
    values = {digest: environ[name] for digest, name in settings.credentials.items()}
    key = environ[settings.jwt_key] if settings.jwt_key else ""
    return ReplayCredentials(values, key, settings.jwt_algorithm, settings.jwt_lifetime_s)
