"""What a scenario is about, read from its settings, seed and requests: the conditions under which a difference is declared.

Pure. A condition is looked up by its name; a scenario nobody has seen yet falls under it for the same reason.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tests.golden.scenario import Scenario

Condition = Callable[[Scenario], bool]


def credential_subjects(scenario: Scenario) -> Iterator[dict[str, Any]]:
    """The subject of every credential that the seed or a request holds."""
    for row in scenario.seed.get("ceramic_cache_ceramiccache", ()):
        yield from _subjects(row.get("stamp"))
    for step in scenario.steps:
        for call in step.calls:
            yield from _subjects(_document(call.body))


def counts_other_nullifiers(scenario: Scenario) -> bool:
    """The recorded legacy took only nullifiers of version 0, and there are others."""
    if scenario.settings.get("FF_MULTI_NULLIFIER") == "on":
        return False
    return any(
        isinstance(nullifier, str) and not nullifier.startswith("v0")
        for subject in credential_subjects(scenario)
        for nullifier in _list(subject.get("nullifiers"))
    )


def has_hash_credentials(scenario: Scenario) -> bool:
    """A credential carries the old field `hash`."""
    return any("hash" in subject for subject in credential_subjects(scenario))


def asks_for_human_points(scenario: Scenario) -> bool:
    """A request carries `include_human_points=true`."""
    return any("include_human_points=true" in call.target for step in scenario.steps for call in step.calls)


CONDITIONS: Mapping[str, Condition] = {
    "counts_other_nullifiers": counts_other_nullifiers,
    "has_hash_credentials": has_hash_credentials,
    "asks_for_human_points": asks_for_human_points,
}


def _subjects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, list):
        for item in value:
            yield from _subjects(item)
    if isinstance(value, dict):
        subject = value.get("credentialSubject")
        if isinstance(subject, dict):
            yield subject
        for key in ("stamps", "stamp"):
            yield from _subjects(value.get(key))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _document(body: bytes) -> Any:
    try:
        return json.loads(body) if body else None
    except ValueError:
        return None
