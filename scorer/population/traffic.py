"""Generate any number of requests for a population, as a profile describes them.

Pure and deterministic: equal people, profile, seed and count give equal requests; tokens have fixed times. Submitted credentials are
the signed ones that the people hold, including those that their case makes invalid.
"""

import base64
import hashlib
import hmac
import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from scorer.population.people import Person, PersonCase, address_of, spread
from scorer.population.profile import Profile, RequestKind
from scorer.population.rows import KEY, OLD_KEY, PLAIN, SyntheticKey
from scorer.population.targets import REFUSED_REQUESTS, RefusedRequest, Target, community_of, refused_target, target_of

_TOKEN_ISSUED_S = 1_704_067_200
_TOKEN_EXPIRES_S = 4_102_444_799
_MISTAKES: Mapping[str, RefusedRequest] = {mistake.case: mistake for mistake in REFUSED_REQUESTS}
_WITHOUT_STAMPS = "an address without stamps"


@dataclass(frozen=True, slots=True)
class Secrets:
    """The deployment's secrets: SECRET_KEY signs tokens, CGRANTS_API_TOKEN is sent as it is."""

    jwt: str
    internal: str


def needs_credentials(profile: Profile) -> bool:
    """Return True if a request of the profile submits credentials, which then have to be signed."""
    return any(share and kind.startswith(("embed_", "ceramic_")) for kind, share in profile.requests.items())


def traffic(
    population: Sequence[Person], profile: Profile, *, seed: int, count: int, secrets: Secrets
) -> Iterator[Target]:
    """Generate `count` requests, which go through the people in turn, except for those that concern the regulars."""
    generator = _TrafficGenerator(population, profile.regulars, seed, secrets)
    kinds = itertools.cycle(tuple(spread(profile.requests)))
    for kind in itertools.islice(kinds, count):
        yield generator.next_of(kind)


@dataclass(slots=True)
class _TrafficGenerator:
    population: Sequence[Person]
    regulars: tuple[float, float]
    seed: int
    secrets: Secrets
    _number: int = 0
    _turn: int = 0
    _handed: int = 0
    _last: Target | None = None
    _holders: list[Person] = field(default_factory=list[Person])

    def __post_init__(self) -> None:
        self._holders = [person for person in self.population if person.stamps]

    def next_of(self, kind: RequestKind) -> Target:
        """Build the next request of a kind."""
        self._number += 1
        if kind is RequestKind.REPEAT:
            # The very first request has nothing to repeat.
            self._last = self._last or self._score(KEY, "score")
            return msgspec.structs.replace(self._last, case=kind.value)
        if kind.value in _MISTAKES:
            return refused_target(_MISTAKES[kind.value], self._number)
        made = _MAKERS[kind](self)
        if kind is not RequestKind.CERAMIC_DELETE:
            # A deletion cannot be repeated: the second one is 404.
            self._last = made
        return made

    def score_of(self, key: SyntheticKey, *, mixed_case: bool = False) -> Target:
        """Build a request for the score of the next person, or of one of the regulars."""
        target = self._score(key, "")
        if not mixed_case:
            return target
        path, _, address = target.path.rpartition("/")
        return msgspec.structs.replace(target, path=f"{path}/{_capitals(address)}", case=RequestKind.MIXED_CASE.value)

    def without_key(self) -> Target:
        """Build a request without a key."""
        return msgspec.structs.replace(self._score(KEY, RequestKind.NO_KEY.value), headers={}, status=401)

    def no_number(self) -> Target:
        """Build a request whose scorer id is not a number."""
        target = self._score(KEY, RequestKind.SCORER_NO_NUMBER.value)
        return msgspec.structs.replace(target, path=f"/v2/stamps/mine/score/{target.key}", status=422)

    def stranger(self) -> Target:
        """Build a request for an address without stamps."""
        return target_of(
            address_of(f"stranger {self.seed} {self._number}"), PLAIN, KEY, case=RequestKind.STRANGER.value
        )

    def embed(self, kind: RequestKind) -> Target:
        """Build a submission of stamps through the embed widget."""
        person = self._holder()
        credentials, address = [stamp.credential for stamp in person.stamps], person.address
        token, status = self.secrets.internal, 200
        match kind:
            case RequestKind.EMBED_NO_TOKEN:
                token, status = "", 401
            case RequestKind.EMBED_BAD_ADDRESS:
                address, status = address[:-1], 400
            case RequestKind.EMBED_TWICE:
                credentials, status = [*credentials, credentials[0]], 500
            case RequestKind.EMBED_NO_PROOF:
                credentials = [{k: v for k, v in credential.items() if k != "proof"} for credential in credentials]
                status = 500
            case _:
                pass
        body = {"scorer_id": PLAIN.id, "stamps": credentials}
        return _posted("POST", f"/internal/embed/stamps/{address}", token, body, kind, status=status, key=address)

    def embed_score(self) -> Target:
        """Build the embed widget's request for a score."""
        address = self._next().address
        return Target(
            "GET", f"/internal/embed/score/{PLAIN.id}/{address}", {}, RequestKind.EMBED_SCORE.value, key=address
        )

    def ceramic(self, kind: RequestKind) -> Target:
        """Build a submission of stamps by their owner through the Passport app."""
        person = self._holder()
        status, method = 201, "POST"
        entries: list[dict[str, Any]] = [
            {"address": person.address, "provider": stamp.provider, "stamp": stamp.credential}
            for stamp in person.stamps
        ]
        token, until_s = self.secrets.jwt, _TOKEN_EXPIRES_S
        match kind:
            case RequestKind.CERAMIC_REPLACE:
                method, status = "PATCH", 200
            case RequestKind.CERAMIC_DELETE:
                method, status = "DELETE", 200
                entries = [{"provider": entry["provider"]} for entry in entries[:1]]
            case RequestKind.CERAMIC_LATE_TOKEN:
                until_s, status = _TOKEN_ISSUED_S + 300, 401
            case RequestKind.CERAMIC_FORGED_TOKEN:
                token, status = f"not {token}", 401
            case RequestKind.CERAMIC_MALFORMED:
                entries, status = [{"stamp": entry["stamp"]} for entry in entries], 422
            case _:
                pass
        bearer = f"Bearer {_token(person.address, token, until_s=until_s)}"
        if kind is RequestKind.CERAMIC_NO_TOKEN:
            bearer, status = "", 401
        path = "/ceramic-cache/stamps/bulk"
        return _posted(method, path, bearer, entries, kind, status=status, key=person.address)

    def ceramic_score(self) -> Target:
        """Build the Passport app's request for a score."""
        address = self._next().address
        headers = {"Authorization": f"Bearer {_token(address, self.secrets.jwt, until_s=_TOKEN_EXPIRES_S)}"}
        return Target("GET", f"/ceramic-cache/score/{address}", headers, RequestKind.CERAMIC_SCORE.value, key=address)

    def _score(self, key: SyntheticKey, case: str) -> Target:
        index = self._index()
        person = self.population[index]
        return target_of(person.address, community_of(person, index), key, case=case or person.case.value)

    def _next(self) -> Person:
        return self.population[self._index()]

    def _index(self) -> int:
        people_share, requests_share = self.regulars
        if drawn(f"{self.seed} regular {self._number}") < requests_share:
            regulars = max(1, math.ceil(people_share * len(self.population)))
            return int(drawn(f"{self.seed} who {self._number}") * regulars)
        self._turn += 1
        return (self._turn - 1) % len(self.population)

    def _holder(self) -> Person:
        self._handed += 1
        if not self._holders:
            return Person(address_of(_WITHOUT_STAMPS), PersonCase.NONE)
        return self._holders[(self._handed - 1) % len(self._holders)]


_MAKERS: Mapping[RequestKind, Callable[[_TrafficGenerator], Target]] = {
    RequestKind.SCORE: lambda asker: asker.score_of(KEY),
    RequestKind.OLD_KEY: lambda asker: asker.score_of(OLD_KEY),
    RequestKind.MIXED_CASE: lambda asker: asker.score_of(KEY, mixed_case=True),
    RequestKind.NO_KEY: _TrafficGenerator.without_key,
    RequestKind.SCORER_NO_NUMBER: _TrafficGenerator.no_number,
    RequestKind.STRANGER: _TrafficGenerator.stranger,
    RequestKind.EMBED_SCORE: _TrafficGenerator.embed_score,
    RequestKind.CERAMIC_SCORE: _TrafficGenerator.ceramic_score,
    **{
        kind: lambda asker, kind=kind: asker.embed(kind)
        for kind in RequestKind
        if kind.startswith("embed_") and kind is not RequestKind.EMBED_SCORE
    },
    **{
        kind: lambda asker, kind=kind: asker.ceramic(kind)
        for kind in RequestKind
        if kind.startswith("ceramic_") and kind is not RequestKind.CERAMIC_SCORE
    },
}


def drawn(name: str) -> float:
    """Derive a number in [0, 1) from a name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64


def _capitals(address: str) -> str:
    return address[:2] + address[2:].upper()


def _posted(
    method: str, path: str, authorization: str, body: object, kind: RequestKind, *, status: int, key: str
) -> Target:
    headers = {"Content-Type": "application/json", **({"Authorization": authorization} if authorization else {})}
    text = json.dumps(body, separators=(",", ":"))
    return Target(method, path, headers, kind.value, status=status, body=text, key=key)


def _token(address: str, secret: str, *, until_s: int) -> str:
    """Build a token of the older sign-in for an address: HS256 (RFC 7515), with the claims that the scorer requires."""
    claims = {
        "did": f"did:pkh:eip155:1:{address}",
        "iat": _TOKEN_ISSUED_S,
        "exp": until_s,
        "jti": hashlib.sha256(address.encode()).hexdigest()[:32],
        "token_type": "access",
    }
    signed = f"{_base64url(_json({'alg': 'HS256', 'typ': 'JWT'}))}.{_base64url(_json(claims))}"
    signature = hmac.digest(secret.encode(), signed.encode(), "sha256")
    return f"{signed}.{_base64url(signature)}"


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
