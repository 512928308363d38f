"""Faults that a comparison must find in a score response or in its row changes, and forms that are equivalent.

Each of `RESPONSE_FAULTS` and `EFFECT_FAULTS` changes a copy of a correct response or of correct rows in one way; a comparison must
report exactly that difference. `EQUIVALENT_FORMS` serialize the same document differently; a comparison must report nothing.
"""

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import yaml

from comparator.exchanges.difference import Kind
from comparator.exchanges.row_changes import Op, RowChange, Transaction
from comparator.settings import CompareSettings
from tests.support.comparisons import text_row
from tests.support.paths import ROOT

ADDRESS = "0x3eb2bf8ebba02fd2b95f4d03befb890f9f4d9fcc"
PROVIDERS = ("Google", "Twitter", "Ens", "Github", "Linkedin", "Discord", "Binance", "Holonym")


def legacy_settings() -> CompareSettings:
    """Return the section `compare:` of this repository's config.yaml."""
    return msgspec.convert(yaml.safe_load((ROOT / "config.yaml").read_text())["compare"], CompareSettings)


def score_response(stamps: int = 6) -> dict[str, Any]:
    """Return a score response with so many stamps."""
    names = [PROVIDERS[i % len(PROVIDERS)] + ("" if i < len(PROVIDERS) else f"#{i}") for i in range(stamps)]
    return {
        "address": ADDRESS,
        "score": "28.75000",
        "passing_score": True,
        "last_score_timestamp": "2026-03-04T12:00:00.685896+00:00",
        "expiration_timestamp": "2099-12-31T23:59:59+00:00",
        "threshold": "2.50000",
        "error": None,
        "stamps": {
            name: {"score": f"{i}.50000", "dedup": False, "expiration_date": "2099-12-31T23:59:59+00:00"}
            for i, name in enumerate(names, 1)
        },
        "points_data": None,
        "possible_points_data": None,
        "linked_score": None,
    }


Rows = dict[str, list[dict[str, Any]]]


def score_rows(stamps: int = 6, *, first_id: int = 1) -> Rows:
    """Return the rows that a first scoring inserts, by table, with ids from `first_id` on."""
    names = PROVIDERS[:stamps]
    passport = first_id + 500
    evidence = {"type": "ThresholdScoreCheck", "success": True, "rawScore": "28.75", "threshold": "2.50000"}
    when = "2026-03-04 12:00:00.685896+00"
    fields = {
        "error": None,
        "score": "1",
        "status": "DONE",
        "passport": passport,
        "evidence": evidence,
        "last_score_timestamp": "2026-03-04T12:00:00.685Z",
        "stamp_scores": dict.fromkeys(names, 1.5),
    }
    return {
        "registry_passport": [{"id": passport, "address": ADDRESS, "community_id": 1, "requires_calculation": None}],
        "registry_stamp": [
            {
                "id": first_id + i,
                "provider": name,
                "passport_id": passport,
                "credential": {
                    "issuer": "did:ethr:0x90",
                    "credentialSubject": {"provider": name, "nullifiers": [f"v0:{i}"]},
                },
            }
            for i, name in enumerate(names)
        ],
        "registry_score": [
            {
                "id": first_id + 9,
                "passport_id": passport,
                "score": "1.000000000",
                "status": "DONE",
                "error": None,
                "last_score_timestamp": when,
                "evidence": evidence,
                "stamp_scores": dict.fromkeys(names, 1.5),
                "expiration_date": "2099-12-31 23:59:59+00",
            }
        ],
        "registry_event": [
            {
                "id": first_id + 20,
                "action": "LDP",
                "address": ADDRESS,
                "community_id": 1,
                "created_at": when,
                "data": {"provider": "Ens", "community_id": 1, "nullifiers": ["v0:1"]},
            },
            {
                "id": first_id + 21,
                "action": "SCU",
                "address": ADDRESS,
                "community_id": 1,
                "created_at": when,
                "data": {"pk": first_id + 9, "model": "registry.score", "fields": fields},
            },
        ],
        "registry_hashscorerlink": [
            {
                "id": first_id + 40 + i,
                "hash": f"v0:{i}",
                "address": ADDRESS,
                "community_id": 1,
                "expires_at": "2099-12-31 23:59:59+00",
            }
            for i in range(len(names))
        ],
        "registry_humanpoints": [
            {
                "id": first_id + 80,
                "address": ADDRESS,
                "action": "HKY",
                "timestamp": when,
                "tx_hash": "v0:1",
                "chain_id": 0,
                "provider": "Ens",
            }
        ],
    }


def as_inserts(rows: Rows) -> tuple[Transaction, ...]:
    """Return one transaction that inserts the rows."""
    changes = tuple(
        RowChange(table, Op.INSERT, None, text_row(row)) for table, inserted in rows.items() for row in inserted
    )
    return (Transaction(1, 10, 11, 1, changes),)


@dataclass(frozen=True)
class Fault:
    """One fault of the mirrored side: the change that makes it, and the location and kind of the difference to report."""

    name: str
    change: Callable[[Any], Any]
    location: str
    kind: Kind


def _set_member(path: str, value: Any) -> Callable[[Any], Any]:
    """Return a change that sets one member; `path` is `registry_score/0/status`, with numbers for list indexes."""

    def change(document: Any) -> Any:
        *parents, last = [int(step) if step.isdigit() else step for step in path.split("/")]
        parent = document
        for step in parents:
            parent = parent[step]
        parent[last] = value
        return document

    return change


def _remove_member(path: str) -> Callable[[Any], Any]:
    def change(document: Any) -> Any:
        *parents, last = [int(step) if step.isdigit() else step for step in path.split("/")]
        parent = document
        for step in parents:
            parent = parent[step]
        del parent[last]
        return document

    return change


def _duplicate_row(table: str) -> Callable[[Any], Any]:
    def change(rows: Any) -> Any:
        rows[table].append({**rows[table][0], "id": 999_999})
        return rows

    return change


RESPONSE_FAULTS = (
    Fault("one digit of the score", _set_member("score", "28.75001"), "score", Kind.CHANGED),
    Fault("score without trailing zeros", _set_member("score", "28.75"), "score", Kind.CHANGED),
    Fault("score as a number", _set_member("score", 28.75), "score", Kind.TYPE),
    Fault("boolean flipped", _set_member("passing_score", False), "passing_score", Kind.CHANGED),
    Fault("boolean as 1", _set_member("passing_score", 1), "passing_score", Kind.TYPE),
    Fault("boolean as text", _set_member("passing_score", "true"), "passing_score", Kind.TYPE),
    Fault("null became text", _set_member("error", ""), "error", Kind.TYPE),
    Fault("null became zero", _set_member("linked_score", 0), "linked_score", Kind.TYPE),
    Fault("null became false", _set_member("linked_score", False), "linked_score", Kind.TYPE),
    Fault("null became an empty object", _set_member("points_data", {}), "points_data", Kind.TYPE),
    Fault("time became null", _set_member("last_score_timestamp", None), "last_score_timestamp", Kind.TYPE),
    Fault(
        "time beyond tolerance",
        _set_member("last_score_timestamp", "2026-03-05T12:00:00+00:00"),
        "last_score_timestamp",
        Kind.CHANGED,
    ),
    Fault(
        "time in another notation where undeclared",
        _set_member("expiration_timestamp", "2099-12-31T23:59:59Z"),
        "expiration_timestamp",
        Kind.CHANGED,
    ),
    Fault("other case of the address", _set_member("address", ADDRESS.upper()), "address", Kind.CHANGED),
    Fault("invisible character", _set_member("address", ADDRESS + "\u200b"), "address", Kind.CHANGED),
    Fault("member lost", _remove_member("threshold"), "threshold", Kind.MISSING),
    Fault("null member lost", _remove_member("linked_score"), "linked_score", Kind.MISSING),
    Fault("member added", _set_member("source", None), "source", Kind.EXTRA),
    Fault("private-looking member added", _set_member("__meta", 1), "__meta", Kind.EXTRA),
    Fault("stamp lost", _remove_member("stamps/Ens"), "stamps.Ens", Kind.MISSING),
    Fault("stamp added", _set_member("stamps/New", {}), "stamps.New", Kind.EXTRA),
    Fault("stamp's score", _set_member("stamps/Ens/score", "9.00000"), "stamps.Ens.score", Kind.CHANGED),
    Fault("stamp's dedup", _set_member("stamps/Twitter/dedup", True), "stamps.Twitter.dedup", Kind.CHANGED),
    Fault("stamp's member lost", _remove_member("stamps/Twitter/dedup"), "stamps.Twitter.dedup", Kind.MISSING),
    Fault("object became a list", _set_member("stamps", []), "stamps", Kind.TYPE),
)

EFFECT_FAULTS = (
    Fault("stamp row lost", _remove_member("registry_stamp/2"), "registry_stamp", Kind.MISSING_ROW),
    Fault("stamp row doubled", _duplicate_row("registry_stamp"), "registry_stamp", Kind.EXTRA_ROW),
    Fault("event lost", _remove_member("registry_event/1"), "registry_event", Kind.MISSING_ROW),
    Fault("event doubled", _duplicate_row("registry_event"), "registry_event", Kind.EXTRA_ROW),
    Fault("link lost", _remove_member("registry_hashscorerlink/0"), "registry_hashscorerlink", Kind.MISSING_ROW),
    Fault(
        "link to another address",
        _set_member("registry_hashscorerlink/0/address", "0xother"),
        "registry_hashscorerlink.address",
        Kind.COLUMN,
    ),
    Fault(
        "link's expiry",
        _set_member("registry_hashscorerlink/0/expires_at", "2099-12-31 23:59:58+00"),
        "registry_hashscorerlink.expires_at",
        Kind.COLUMN,
    ),
    Fault(
        "score below the threshold",
        _set_member("registry_score/0/score", "0.000000000"),
        "registry_score.score",
        Kind.COLUMN,
    ),
    Fault(
        "raw score",
        _set_member("registry_score/0/evidence/rawScore", "28.76"),
        "registry_score.evidence.rawScore",
        Kind.CHANGED,
    ),
    Fault(
        "raw score's scale",
        _set_member("registry_score/0/evidence/rawScore", "28.750"),
        "registry_score.evidence.rawScore",
        Kind.CHANGED,
    ),
    Fault("evidence null", _set_member("registry_score/0/evidence", None), "registry_score.evidence", Kind.COLUMN),
    Fault(
        "weight",
        _set_member("registry_score/0/stamp_scores/Ens", 1.51),
        "registry_score.stamp_scores.Ens",
        Kind.CHANGED,
    ),
    Fault(
        "weight as text",
        _set_member("registry_score/0/stamp_scores/Ens", "1.5"),
        "registry_score.stamp_scores.Ens",
        Kind.TYPE,
    ),
    Fault("status", _set_member("registry_score/0/status", "ERROR"), "registry_score.status", Kind.COLUMN),
    Fault("error text instead of null", _set_member("registry_score/0/error", ""), "registry_score.error", Kind.COLUMN),
    Fault(
        "timestamp null",
        _set_member("registry_score/0/last_score_timestamp", None),
        "registry_score.last_score_timestamp",
        Kind.COLUMN,
    ),
    Fault(
        "timestamp an hour off",
        _set_member("registry_score/0/last_score_timestamp", "2026-03-04 13:00:00+00"),
        "registry_score.last_score_timestamp",
        Kind.COLUMN,
    ),
    Fault(
        "credential changed",
        _set_member("registry_stamp/1/credential/issuer", "did:ethr:0x91"),
        "registry_stamp.credential.issuer",
        Kind.CHANGED,
    ),
    Fault(
        "nullifier changed inside a credential",
        _set_member("registry_stamp/1/credential/credentialSubject/nullifiers/0", "v0:9"),
        "registry_stamp.credential.credentialSubject.nullifiers[0]",
        Kind.CHANGED,
    ),
    Fault(
        "event of another passport",
        _set_member("registry_event/1/data/fields/passport", 77),
        "registry_event.data.fields.passport",
        Kind.CHANGED,
    ),
    Fault(
        "event data wrapped in a list",
        lambda rows: _set_member("registry_event/1/data", [rows["registry_event"][1]["data"]])(rows),
        "registry_event.data",
        Kind.TYPE,
    ),
    Fault(
        "event's nullifiers",
        _set_member("registry_event/0/data/nullifiers", ["v0:1", "v0:2"]),
        "registry_event.data.nullifiers[1]",
        Kind.EXTRA,
    ),
    Fault("points lost", _remove_member("registry_humanpoints/0"), "registry_humanpoints", Kind.MISSING_ROW),
    Fault(
        "passport flag",
        _set_member("registry_passport/0/requires_calculation", True),
        "registry_passport.requires_calculation",
        Kind.COLUMN,
    ),
    Fault(
        "row of another community",
        _set_member("registry_hashscorerlink/0/community_id", 2),
        "registry_hashscorerlink",
        Kind.MISSING_ROW,
    ),
)

EQUIVALENT_FORMS: Mapping[str, Callable[[dict[str, Any]], bytes]] = {
    "compact layout": lambda d: json.dumps(d, separators=(",", ":")).encode(),
    "indented layout": lambda d: json.dumps(d, indent=3).encode(),
    "other order of members": lambda d: json.dumps(dict(reversed(d.items()))).encode(),
    "sorted members": lambda d: json.dumps(d, sort_keys=True).encode(),
    "escaped names and text": lambda d: json.dumps(d).replace("score", "\\u0073core").encode(),
    "time within tolerance": lambda d: json.dumps({**d, "last_score_timestamp": "2026-03-04T12:00:03Z"}).encode(),
    "byte order mark": lambda d: b"\xef\xbb\xbf" + json.dumps(d).encode(),
    "utf-16": lambda d: json.dumps(d).encode("utf-16"),
}


def with_fault(document: Any, fault: Fault) -> Any:
    """Return a copy of the correct document with one fault."""
    return fault.change(copy.deepcopy(document))
