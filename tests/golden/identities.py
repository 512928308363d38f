"""Map the surrogate ids of this run to those of the recording, so that rows and responses can be compared exactly.

Pure. Rows inserted on both sides are paired by their content (the columns without ids, times and references to rows of the same
step); each pair adds one entry to the map of its table. Ids that exist before the step are equal, because both runs started from the
same seed. A response or a JSON column is rewritten only at the places declared here.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from comparator.exchanges.row_changes import Op, Row, RowChange
from tests.golden.textual import schema

NATURAL_KEYS: Mapping[str, tuple[str, ...]] = {
    "registry_passport": ("address", "community_id"),
    "registry_score": ("passport_id",),
    "registry_stamp": ("passport_id", "provider"),
    "registry_hashscorerlink": ("hash", "community_id"),
    "registry_humanpoints": ("address", "action", "chain_id", "provider", "tx_hash"),
    "registry_humanpointscommunityqualifiedusers": ("address", "community_id"),
    "registry_event": ("action", "address", "community_id"),
    "ceramic_cache_ceramiccache": ("address", "provider", "type", "proof_value", "source_app"),
    "account_nonce": (),
    "account_accountapikeyanalytics": ("api_key_id", "path"),
    "tos_tosacceptanceproof": ("tos_id", "address"),
}
"""The columns that pair two inserted rows. Rows with equal values are paired in order of their ids."""

REFERENCES: Mapping[str, Mapping[str, str]] = {
    "registry_score": {"passport_id": "registry_passport"},
    "registry_stamp": {"passport_id": "registry_passport"},
}
EVENT_PLACES: Mapping[tuple[str, ...], str] = {("pk",): "registry_score", ("fields", "passport"): "registry_passport"}
"""Ids inside the data of a score event."""

Ids = dict[str, dict[str, str]]
"""From the id of this run to the recorded id, by table."""


@dataclass(slots=True)
class Identities:
    """The id map of a scenario; it grows with every step."""

    known: Ids = field(default_factory=lambda: defaultdict(dict))

    def learn(self, recorded: Sequence[RowChange], run: Sequence[RowChange]) -> None:
        """Pair the rows that both sides inserted; tables that others refer to come first."""
        for table in sorted(NATURAL_KEYS, key=lambda name: name in REFERENCES):
            theirs = _inserted(recorded, table)
            ours = [self.row(table, row) for row in _inserted(run, table)]
            for key, rows in _by_key(table, ours).items():
                for mine, recorded_row in zip(rows, _by_key(table, theirs).get(key, ()), strict=False):
                    self._pair(table, mine, recorded_row)

    def change(self, change: RowChange) -> RowChange:
        """Return a row change of this run with the recorded ids."""
        return replace(
            change,
            before=self.row(change.table, change.before, own=True) if change.before else None,
            after=self.row(change.table, change.after, own=True) if change.after else None,
        )

    def row(self, table: str, row: Row, *, own: bool = False) -> dict[str, str | None]:
        """Return a row with the recorded id and references."""
        changed = dict(row)
        for column, target in REFERENCES.get(table, {}).items():
            changed[column] = self._mapped(target, row[column])
        if own and "id" in row:
            changed["id"] = self._mapped(table, row["id"])
        if table == "registry_event" and row.get("data"):
            changed["data"] = self._event_data(row["data"] or "")
        return changed

    def body(self, document: Any) -> Any:
        """Return a response with the recorded ids of stamps."""
        if not isinstance(document, dict):
            return document
        stamps = document.get("stamps")
        changed = dict(document)
        if isinstance(stamps, list):
            changed["stamps"] = [self._stamp(stamp) for stamp in stamps]
        if isinstance(document.get("updated"), list):
            changed["updated"] = [self._number("ceramic_cache_ceramiccache", value) for value in document["updated"]]
        return changed

    def _pair(self, table: str, mine: Row, recorded: Row) -> None:
        ours, theirs = mine.get("id"), recorded.get("id")
        if ours is not None and theirs is not None:
            self.known[table][ours] = theirs

    def _mapped(self, table: str, value: str | None) -> str | None:
        return self.known[table].get(value, value) if value is not None else None

    def _number(self, table: str, value: Any) -> Any:
        return int(self.known[table].get(str(value), str(value))) if isinstance(value, int) else value

    def _stamp(self, stamp: Any) -> Any:
        if not isinstance(stamp, dict) or "id" not in stamp:
            return stamp
        return {**stamp, "id": self._number("ceramic_cache_ceramiccache", stamp["id"])}

    def _event_data(self, text: str) -> str:
        data = json.loads(text)
        if not isinstance(data, dict) or data.get("model") != "registry.score":
            return text
        for place, table in EVENT_PLACES.items():
            holder = data
            for name in place[:-1]:
                holder = holder.get(name, {})
            if place[-1] in holder:
                holder[place[-1]] = self._number(table, holder[place[-1]])
        return json.dumps(data, ensure_ascii=False)


def _inserted(changes: Iterable[RowChange], table: str) -> list[Row]:
    rows = [change.after for change in changes if change.table == table and change.op is Op.INSERT and change.after]
    return sorted(
        rows, key=lambda row: tuple((len(row[name] or ""), row[name] or "") for name in schema()[table]["primary_key"])
    )


def _by_key(table: str, rows: Iterable[Row]) -> dict[tuple[str | None, ...], list[Row]]:
    found: dict[tuple[str | None, ...], list[Row]] = defaultdict(list)
    for row in rows:
        found[tuple(row[name] for name in NATURAL_KEYS[table])].append(row)
    return found
