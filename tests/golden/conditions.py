"""Conditions of declared differences, evaluated on a scenario's settings, seed, requests and recorded responses.

Pure. A condition returns a `Concern`: the steps in which the difference may occur, and the names that may stand in its places
(`{provider}`, `{nullifier}`); None if the scenario does not meet it. So a declared difference also applies to new scenarios.
"""

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.golden.scenario import Call, Row, Scenario, Step

LINKS_NOT_SAVED = "Failed to save HashScorerLinks"
POINTS_PARAMETER = "include_human_points=true"
_SERVED_OF_FIRST_VERSION = ("/registry/gtc-stake/", "/registry/stamps/")
_STAMPS = "ceramic_cache_ceramiccache"


@dataclass(frozen=True, slots=True)
class Concern:
    """The steps in which a difference may occur, and the names that its places may contain."""

    steps: frozenset[int]
    names: Mapping[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])


Condition = Callable[[Scenario], Concern | None]


@dataclass(frozen=True, slots=True)
class Credential:
    """The parts of a credential that conditions depend on."""

    provider: str
    nullifiers: frozenset[str]
    hashes: frozenset[str]
    address: str

    @property
    def other_nullifiers(self) -> frozenset[str]:
        """The nullifiers that the legacy ignores while FF_MULTI_NULLIFIER is off."""
        return frozenset(nullifier for nullifier in self.nullifiers if not nullifier.startswith("v0"))


def credentials(scenario: Scenario) -> list[Credential]:
    """Return every credential in the seed and the requests, with the provider of its row if it has one.

    Its address is that of its subject; a row of another address has no use of it.
    """
    found: list[Credential] = []
    for row in scenario.seed.get(_STAMPS, ()):
        found += _credentials(row.get("stamp"), str(row.get("provider", "")))
    for step in scenario.steps:
        for call in step.calls:
            found += _credentials(_document(call.body), "")
    return found


def other_nullifiers_are_linked(scenario: Scenario) -> Concern | None:
    """Return the concern if there are nullifiers of other versions than 0, which the recorded legacy ignored."""
    if scenario.settings.get("FF_MULTI_NULLIFIER") == "on":
        return None
    held = [one for one in credentials(scenario) if one.other_nullifiers]
    others = frozenset[str]().union(*(one.other_nullifiers for one in held))
    return Concern(_steps_about(scenario, held), {"nullifier": others}) if held else None


def other_nullifiers_clash(scenario: Scenario) -> Concern | None:
    """Return the concern if another address holds a nullifier of another version: in a link of the seed or in a credential."""
    if scenario.settings.get("FF_MULTI_NULLIFIER") == "on":
        return None
    held = credentials(scenario)
    links = scenario.seed.get("registry_hashscorerlink", ())
    clashing = [one for one in held if any(_taken(nullifier, one, links, held) for nullifier in one.other_nullifiers)]
    if not clashing:
        return None
    return Concern(
        _steps_about(scenario, clashing),
        {
            "provider": frozenset(one.provider for one in clashing),
            "nullifier": frozenset[str]().union(*(one.nullifiers for one in clashing)),
        },
    )


def old_form_credentials(scenario: Scenario) -> Concern | None:
    """Return the concern if a credential has the old field `hash`, with or without a list of nullifiers."""
    old = [one for one in credentials(scenario) if one.hashes]
    if not old:
        return None
    return Concern(
        _steps_about(scenario, old),
        {
            "provider": frozenset(one.provider for one in old),
            "nullifier": frozenset[str]().union(*(one.hashes | one.nullifiers for one in old)),
        },
    )


def links_not_saved(scenario: Scenario) -> Concern | None:
    """Return the concern if the legacy failed to save links; from that step on its score is a permanent error."""
    first = next((i for i, step in enumerate(scenario.steps) if LINKS_NOT_SAVED in _recorded_text(step)), None)
    return None if first is None else Concern(_steps_from(scenario, first))


def human_points_asked_for(scenario: Scenario) -> Concern | None:
    """Return the concern if a request has `include_human_points=true`, which the recorded version does not support."""
    return _steps_where(scenario, lambda step: any(POINTS_PARAMETER in call.target for call in step.calls))


def first_version_called(scenario: Scenario) -> Concern | None:
    """Return the concern if a request is to the first API version; its rows are missing in all later steps."""
    first = next((i for i, step in enumerate(scenario.steps) if any(map(_is_first_version, _paths(step)))), None)
    return None if first is None else Concern(_steps_from(scenario, first))


def replaced_stamps_lost(scenario: Scenario) -> Concern | None:
    """Return the concern if replacing stamps failed with 500 after the deletion of the old and before the storing of the new."""
    first = next((i for i, step in enumerate(scenario.steps) if _lost_providers(step)), None)
    if first is None:
        return None
    lost = frozenset(provider for step in scenario.steps for provider in _lost_providers(step))
    return Concern(_steps_from(scenario, first), {"provider": lost})


CONDITIONS: Mapping[str, Condition] = {
    condition.__name__: condition
    for condition in (
        other_nullifiers_are_linked,
        other_nullifiers_clash,
        old_form_credentials,
        links_not_saved,
        human_points_asked_for,
        first_version_called,
        replaced_stamps_lost,
    )
}


def _taken(nullifier: str, one: Credential, links: Iterable[Row], held: Iterable[Credential]) -> bool:
    linked = any(link["hash"] == nullifier and str(link["address"]).lower() != one.address for link in links)
    return linked or any(nullifier in other.nullifiers and other.address != one.address for other in held)


def _lost_providers(step: Step) -> frozenset[str]:
    changes = step.db_changes.get(_STAMPS, {})
    if not step.calls or step.calls[0].response["status"] != 500 or changes.get("inserted"):
        return frozenset()
    return frozenset(
        pair["after"]["provider"] for pair in changes.get("updated", ()) if pair["after"]["deleted_at"] is not None
    )


def _is_first_version(path: str) -> bool:
    return path.startswith("/registry/") and not path.startswith(_SERVED_OF_FIRST_VERSION)


def _paths(step: Step) -> list[str]:
    return [call.target.partition("?")[0] for call in step.calls]


def _steps_where(scenario: Scenario, holds: Callable[[Step], bool]) -> Concern | None:
    steps = frozenset(index for index, step in enumerate(scenario.steps) if holds(step))
    return Concern(steps) if steps else None


def _steps_from(scenario: Scenario, first: int) -> frozenset[int]:
    return frozenset(range(first, len(scenario.steps)))


def _steps_about(scenario: Scenario, held: Iterable[Credential]) -> frozenset[int]:
    """Return the steps that name an address of these credentials in the path, the body or the token."""
    addresses = {one.address for one in held}
    return frozenset(
        index
        for index, step in enumerate(scenario.steps)
        if any(address in _said(call) for call in step.calls for address in addresses)
    )


def _said(call: Call) -> str:
    token = "".join(value for name, value in call.headers if name.lower() == "authorization")
    return f"{call.target} {call.body.decode(errors='replace')} {_claims(token)}".lower()


def _claims(token: str) -> str:
    """Return the claims of a JWT as text, "" for anything else."""
    parts = token.split(".")
    if len(parts) != 3:
        return ""
    try:
        return base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)).decode(errors="replace")
    except ValueError:
        return ""


def _recorded_text(step: Step) -> str:
    return json.dumps([[call.response for call in step.calls], step.db_changes])


def _credentials(value: Any, row_provider: str) -> Iterator[Credential]:
    if isinstance(value, list):
        for item in value:
            yield from _credentials(item, "")
    if not isinstance(value, dict):
        return
    subject = value.get("credentialSubject")
    if isinstance(subject, dict):
        yield _credential(subject, row_provider)
    for key in ("stamps", "stamp"):
        yield from _credentials(value.get(key), str(value.get("provider", "")) if key == "stamp" else "")


def _credential(subject: dict[str, Any], row_provider: str) -> Credential:
    nullifiers = subject.get("nullifiers")
    old = subject.get("hash")
    return Credential(
        provider=row_provider or str(subject.get("provider", "")),
        nullifiers=frozenset(n for n in nullifiers if isinstance(n, str))
        if isinstance(nullifiers, list)
        else frozenset(),
        hashes=frozenset({old}) if isinstance(old, str) else frozenset(),
        address=str(subject.get("id", "")).rpartition(":")[2].lower(),
    )


def _document(body: bytes) -> Any:
    try:
        return json.loads(body) if body else None
    except ValueError:
        return None
