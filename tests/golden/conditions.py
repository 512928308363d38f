"""Conditions of declared differences, evaluated on a scenario's settings, seed, requests and recorded responses.

Pure. A condition returns a `Concern`: the steps in which the difference may occur, and the names that may stand in its places
(`{provider}`, `{nullifier}`); None if the scenario does not meet it. So a declared difference also applies to new scenarios.
"""

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from tests.golden.scenario import Call, Row, Scenario, Step

LINKS_NOT_SAVED = ("Failed to save HashScorerLinks", "Unexpected number of HashScorerLinks")
TERMS_NOT_ACCEPTED = "Failed to process the tos acceptance proof"
POINTS_PARAMETER = "include_human_points=true"
_SERVED_OF_FIRST_VERSION = ("/registry/gtc-stake/", "/registry/stamps/")
_STAMPS = "ceramic_cache_ceramiccache"
_SCIENTIFIC_AMOUNT = re.compile(r'"amount": "\d[^"]*E-\d+"')
_OFFSET = re.compile(r"[+-](\d\d):?\d\d$")
_OFFSET_HOURS_MAX = 15
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")


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
    first = next((i for i, step in enumerate(scenario.steps) if _says_any(step, LINKS_NOT_SAVED)), None)
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


def terms_proof_failed(scenario: Scenario) -> Concern | None:
    """Return the concern if a proof of the terms of service was refused with 500, whose text means 400."""
    return _steps_where(
        scenario,
        lambda step: any(
            call.response["status"] == 500 and TERMS_NOT_ACCEPTED in json.dumps(call.response) for call in step.calls
        ),
    )


def small_amounts_recorded(scenario: Scenario) -> Concern | None:
    """Return the concern if a stake was printed in scientific notation."""
    return _steps_where(scenario, lambda step: bool(_SCIENTIFIC_AMOUNT.search(_recorded_text(step))))


def credential_parts_of_other_types(scenario: Scenario) -> Concern | None:
    """Return the concern if a credential, its expiration date or one of its nullifiers has another JSON type than it should."""
    return _everywhere(scenario) if any(map(_has_other_types, _raw_credentials(scenario))) else None


def proof_value_is_not_text(scenario: Scenario) -> Concern | None:
    """Return the concern if a submitted proof value is not a text, which the legacy stores as the text of a Python value."""
    first = next((i for i, step in enumerate(scenario.steps) if any(map(_has_odd_proof, _submitted(step)))), None)
    return None if first is None else Concern(_steps_from(scenario, first))


def stamps_changed_without_default_community(scenario: Scenario) -> Concern | None:
    """Return the concern if stamps were changed with CERAMIC_CACHE_SCORER_ID empty: the legacy stores, then fails."""
    if scenario.settings.get("CERAMIC_CACHE_SCORER_ID"):
        return None
    first = next((i for i, step in enumerate(scenario.steps) if any(map(_changes_stamps, step.calls))), None)
    return None if first is None else Concern(_steps_from(scenario, first))


def weights_are_not_finite(scenario: Scenario) -> Concern | None:
    """Return the concern if a weight is infinite or not a number, which no JSON column can hold."""
    kinds = ("scorer_weighted_weightedscorer", "scorer_weighted_binaryweightedscorer")
    weights = [row.get("weights") for kind in kinds for row in scenario.seed.get(kind, ())]
    patched = [change.get("set", {}).get("weights") for step in scenario.steps for change in step.patches]
    values = [value for held in (*weights, *patched) if isinstance(held, dict) for value in held.values()]
    return _everywhere(scenario) if any(map(_is_not_finite, values)) else None


def offset_beyond_the_database(scenario: Scenario) -> Concern | None:
    """Return the concern if a credential's date has an offset that PostgreSQL refuses, such as +23:59."""
    dates = [
        value
        for credential in _raw_credentials(scenario)
        if isinstance(credential, dict)
        for value in (credential.get("expirationDate"), credential.get("issuanceDate"))
    ]
    return _everywhere(scenario) if any(map(_has_wide_offset, dates)) else None


def history_of_malformed_event(scenario: Scenario) -> Concern | None:
    """Return the concern if the history failed on a malformed event."""
    return _steps_where(
        scenario,
        lambda step: any(
            path.endswith("/history") and call.response["status"] == 500
            for path, call in zip(_paths(step), step.calls, strict=True)
        ),
    )


def token_read_leniently(scenario: Scenario) -> Concern | None:
    """Return the concern if a token has characters outside of base64url, padding, or a `crit` header."""
    first = next((i for i, step in enumerate(scenario.steps) if any(map(_has_odd_token, step.calls))), None)
    return None if first is None else Concern(_steps_from(scenario, first))


def key_header_with_underscores(scenario: Scenario) -> Concern | None:
    """Return the concern if a request carries X_API_KEY, which the legacy reads as X-API-Key."""
    first = next((i for i, step in enumerate(scenario.steps) if any(map(_has_underscored_key, step.calls))), None)
    return None if first is None else Concern(_steps_from(scenario, first))


def analytics_of_unhandled_errors(scenario: Scenario) -> Concern | None:
    """Return the concern if a tracked call ended in an exception whose text is Django's."""
    return _steps_where(
        scenario,
        lambda step: any(
            row.get("status_code") == 500
            for row in step.db_changes.get("account_accountapikeyanalytics", {}).get("inserted", ())
        ),
    )


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
        terms_proof_failed,
        small_amounts_recorded,
        credential_parts_of_other_types,
        proof_value_is_not_text,
        stamps_changed_without_default_community,
        weights_are_not_finite,
        offset_beyond_the_database,
        history_of_malformed_event,
        token_read_leniently,
        key_header_with_underscores,
        analytics_of_unhandled_errors,
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


def _everywhere(scenario: Scenario) -> Concern:
    return Concern(_steps_from(scenario, 0))


def _says_any(step: Step, texts: Iterable[str]) -> bool:
    recorded = _recorded_text(step)
    return any(text in recorded for text in texts)


def _raw_credentials(scenario: Scenario) -> Iterator[Any]:
    """Generate the credentials in the seed, in direct changes and in requests, as they are."""
    for row in scenario.seed.get(_STAMPS, ()):
        yield row.get("stamp")
    for step in scenario.steps:
        for change in step.patches:
            if change.get("table") == _STAMPS and "stamp" in change.get("set", {}):
                yield change["set"]["stamp"]
        yield from _submitted(step)


def _submitted(step: Step) -> Iterator[Any]:
    for call in step.calls:
        body = _document(call.body)
        if isinstance(body, dict) and isinstance(body.get("stamps"), list):
            yield from body["stamps"]
        if isinstance(body, list):
            yield from (entry["stamp"] for entry in body if isinstance(entry, dict) and entry.get("stamp") is not None)


def _has_other_types(credential: Any) -> bool:
    if not isinstance(credential, dict):
        return True
    subject = credential.get("credentialSubject")
    nullifiers = subject.get("nullifiers") if isinstance(subject, dict) else None
    odd_nullifier = isinstance(nullifiers, list) and not all(isinstance(entry, str) for entry in nullifiers)
    return odd_nullifier or not isinstance(credential.get("expirationDate", ""), str)


def _has_odd_proof(credential: Any) -> bool:
    proof = credential.get("proof") if isinstance(credential, dict) else None
    return isinstance(proof, dict) and not isinstance(proof.get("proofValue"), str | type(None))


def _changes_stamps(call: Call) -> bool:
    return call.method in {"PATCH", "DELETE"} and call.target == "/ceramic-cache/stamps/bulk"


def _is_not_finite(weight: Any) -> bool:
    try:
        return isinstance(weight, str) and not Decimal(weight).is_finite()
    except InvalidOperation:
        return False


def _has_wide_offset(date: Any) -> bool:
    match = _OFFSET.search(date) if isinstance(date, str) and "T" in date else None
    return match is not None and int(match[1]) > _OFFSET_HOURS_MAX


def _has_odd_token(call: Call) -> bool:
    words = [value.split(" ", 1) for name, value in call.headers if name.lower() == "authorization"]
    for token in (rest[0] for scheme, *rest in words if scheme.lower() == "bearer" and rest):
        parts = token.split(".")
        if len(parts) != 3:
            continue
        if any(_BASE64URL.fullmatch(part) is None for part in parts):
            return True
        header = _document(base64.urlsafe_b64decode(parts[0] + "=" * (-len(parts[0]) % 4)))
        if isinstance(header, dict) and "crit" in header:
            return True
    return False


def _has_underscored_key(call: Call) -> bool:
    return any("_" in name and name.replace("_", "-").lower() == "x-api-key" for name, _ in call.headers)


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
