"""Any number of requests to a population, as a profile describes them.

Pure and deterministic: the same people, profile, seed and number give the same requests; tokens begin and end at fixed times. What is
handed in are the really signed credentials that the people hold, the bad ones of their cases included.
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

from scorer.population.people import Case, Person, address_of, spread
from scorer.population.profile import Kind, Profile
from scorer.population.rows import KEY, OLD_KEY, PLAIN, Key
from scorer.population.targets import MISTAKES, Mistake, Target, community_of, mistaken, target_of

_BEGAN_S = 1_704_067_200
_FAR_S = 4_102_444_799
_MISTAKES: Mapping[str, Mistake] = {mistake.case: mistake for mistake in MISTAKES}
_HELD_BY_NOBODY = "held by nobody"


@dataclass(frozen=True, slots=True)
class Secrets:
    """What the scorer's deployment checks clients with: SECRET_KEY signs tokens, CGRANTS_API_TOKEN is sent as it is."""

    jwt: str
    internal: str


def needs_credentials(profile: Profile) -> bool:
    """Whether a request of the profile carries credentials, so that they have to be signed."""
    return any(share and kind.startswith(("embed_", "ceramic_")) for kind, share in profile.requests.items())


def traffic(
    population: Sequence[Person], profile: Profile, *, seed: int, count: int, secrets: Secrets
) -> Iterator[Target]:
    """`count` requests. People are asked for in turn, the regulars besides."""
    asker = _Asker(population, profile.regulars, seed, secrets)
    kinds = itertools.cycle(tuple(spread(profile.requests)))
    for kind in itertools.islice(kinds, count):
        yield asker.ask(kind)


@dataclass(slots=True)
class _Asker:
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

    def ask(self, kind: Kind) -> Target:
        """The next request of a kind."""
        self._number += 1
        if kind is Kind.REPEAT:
            # (the first of all repeats nothing, and is a question of its own)
            self._last = self._last or self._score(KEY, "score")
            return msgspec.structs.replace(self._last, case=kind.value)
        if kind.value in _MISTAKES:
            return mistaken(_MISTAKES[kind.value], self._number)
        made = _MAKERS[kind](self)
        if kind is not Kind.CERAMIC_DELETE:
            # (what is deleted once cannot be deleted again)
            self._last = made
        return made

    def score_of(self, key: Key, *, mixed_case: bool = False) -> Target:
        """Who is next, or one of the regulars."""
        target = self._score(key, "")
        if not mixed_case:
            return target
        path, _, address = target.path.rpartition("/")
        return msgspec.structs.replace(target, path=f"{path}/{_capitals(address)}", case=Kind.MIXED_CASE.value)

    def without_key(self) -> Target:
        """No key at all."""
        return msgspec.structs.replace(self._score(KEY, Kind.NO_KEY.value), headers={}, status=401)

    def no_number(self) -> Target:
        """A scorer's id that is none."""
        target = self._score(KEY, Kind.SCORER_NO_NUMBER.value)
        return msgspec.structs.replace(target, path=f"/v2/stamps/mine/score/{target.key}", status=422)

    def stranger(self) -> Target:
        """An address that holds nothing."""
        return target_of(address_of(f"stranger {self.seed} {self._number}"), PLAIN, KEY, case=Kind.STRANGER.value)

    def embed(self, kind: Kind) -> Target:
        """Stamps handed in through the widget."""
        person = self._holder()
        credentials, address = [stamp.credential for stamp in person.stamps], person.address
        token, status = self.secrets.internal, 200
        match kind:
            case Kind.EMBED_NO_TOKEN:
                token, status = "", 401
            case Kind.EMBED_BAD_ADDRESS:
                address, status = address[:-1], 400
            case Kind.EMBED_TWICE:
                credentials, status = [*credentials, credentials[0]], 500
            case Kind.EMBED_NO_PROOF:
                credentials = [{name: value for name, value in one.items() if name != "proof"} for one in credentials]
                status = 500
            case _:
                pass
        body = {"scorer_id": PLAIN.id, "stamps": credentials}
        return _posted("POST", f"/internal/embed/stamps/{address}", token, body, kind, status=status, key=address)

    def embed_score(self) -> Target:
        """What the widget shows."""
        address = self._next().address
        return Target("GET", f"/internal/embed/score/{PLAIN.id}/{address}", {}, Kind.EMBED_SCORE.value, key=address)

    def ceramic(self, kind: Kind) -> Target:
        """Stamps handed in through the app, by their owner."""
        person = self._holder()
        status, method = 201, "POST"
        entries: list[dict[str, Any]] = [
            {"address": person.address, "provider": stamp.provider, "stamp": stamp.credential}
            for stamp in person.stamps
        ]
        token, until_s = self.secrets.jwt, _FAR_S
        match kind:
            case Kind.CERAMIC_REPLACE:
                method, status = "PATCH", 200
            case Kind.CERAMIC_DELETE:
                method, status = "DELETE", 200
                entries = [{"provider": entry["provider"]} for entry in entries[:1]]
            case Kind.CERAMIC_LATE_TOKEN:
                until_s, status = _BEGAN_S + 300, 401
            case Kind.CERAMIC_FORGED_TOKEN:
                token, status = f"not {token}", 401
            case Kind.CERAMIC_MALFORMED:
                entries, status = [{"stamp": entry["stamp"]} for entry in entries], 422
            case _:
                pass
        bearer = f"Bearer {_token(person.address, token, until_s=until_s)}"
        if kind is Kind.CERAMIC_NO_TOKEN:
            bearer, status = "", 401
        path = "/ceramic-cache/stamps/bulk"
        return _posted(method, path, bearer, entries, kind, status=status, key=person.address)

    def ceramic_score(self) -> Target:
        """What the app shows its user."""
        address = self._next().address
        headers = {"Authorization": f"Bearer {_token(address, self.secrets.jwt, until_s=_FAR_S)}"}
        return Target("GET", f"/ceramic-cache/score/{address}", headers, Kind.CERAMIC_SCORE.value, key=address)

    def _score(self, key: Key, case: str) -> Target:
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
            return Person(address_of(_HELD_BY_NOBODY), Case.NONE)
        return self._holders[(self._handed - 1) % len(self._holders)]


_MAKERS: Mapping[Kind, Callable[[_Asker], Target]] = {
    Kind.SCORE: lambda asker: asker.score_of(KEY),
    Kind.OLD_KEY: lambda asker: asker.score_of(OLD_KEY),
    Kind.MIXED_CASE: lambda asker: asker.score_of(KEY, mixed_case=True),
    Kind.NO_KEY: _Asker.without_key,
    Kind.SCORER_NO_NUMBER: _Asker.no_number,
    Kind.STRANGER: _Asker.stranger,
    Kind.EMBED_SCORE: _Asker.embed_score,
    Kind.CERAMIC_SCORE: _Asker.ceramic_score,
    **{
        kind: lambda asker, kind=kind: asker.embed(kind)
        for kind in Kind
        if kind.startswith("embed_") and kind is not Kind.EMBED_SCORE
    },
    **{
        kind: lambda asker, kind=kind: asker.ceramic(kind)
        for kind in Kind
        if kind.startswith("ceramic_") and kind is not Kind.CERAMIC_SCORE
    },
}


def drawn(name: str) -> float:
    """A number in [0, 1) that follows from a name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64


def _capitals(address: str) -> str:
    return address[:2] + address[2:].upper()


def _posted(method: str, path: str, authorization: str, body: object, kind: Kind, *, status: int, key: str) -> Target:
    headers = {"Content-Type": "application/json", **({"Authorization": authorization} if authorization else {})}
    text = json.dumps(body, separators=(",", ":"))
    return Target(method, path, headers, kind.value, status=status, body=text, key=key)


def _token(address: str, secret: str, *, until_s: int) -> str:
    """A token of the older sign-in for an address: HS256 by RFC 7515, with the claims that the scorer asks for."""
    claims = {
        "did": f"did:pkh:eip155:1:{address}",
        "iat": _BEGAN_S,
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
