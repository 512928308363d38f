"""Judge a step of concurrent calls: the scorer must keep its promises, and the outcome must be one that the legacy had.

Pure. Concurrent requests make the legacy duplicate stamps and store inconsistent scores, so the number of stamp rows is judged by
the promises only; everything else must equal one of the recorded outcomes.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from comparator.exchanges.difference import Difference, Kind
from comparator.exchanges.model import Failed, Response
from comparator.exchanges.row_changes import Op, Row, RowChange
from tests.golden.replay import StepRun
from tests.golden.scenario import Step

_JUDGED_BY_PROMISE = "registry_stamp"


def judge_race(step: Step, run: StepRun) -> list[Difference]:
    """Return broken promises, or the outcome if the legacy never had it."""
    return [*broken_promises(run.outcomes, run.changes), *_unobserved(step, run)]


def broken_promises(outcomes: Sequence[Response | Failed], changes: Sequence[RowChange]) -> list[Difference]:
    """Check the promises: one owner per nullifier, no duplicate stamp, no inconsistent score, no lost response, no 500."""
    found = [_broken("response", "below 500", _status(outcome)) for outcome in outcomes if not _answered(outcome)]
    stamps = _written(changes, "registry_stamp")
    found += [_broken("one_stamp_a_provider", 1, repr(key)) for key in _repeated(_stamp_keys(stamps))]
    found += [_broken("one_owner_a_nullifier", 1, repr(key)) for key in _contested(stamps)]
    found += [_broken("whole_score", raw, total) for raw, total in _torn(_written(changes, "registry_event"))]
    found += [_broken("one_answer_an_address", "equal", text) for text in _unlike(outcomes)]
    return found


def summary(outcome: Response | Failed) -> str:
    """Return one response in the format of the recording."""
    if isinstance(outcome, Failed):
        return f"failed {outcome.cause}"
    body = _body(outcome)
    if "stamps" not in body or not isinstance(body["stamps"], dict):
        return str(outcome.status)
    dedup = sorted(name for name, stamp in body["stamps"].items() if stamp["dedup"])
    return f"{outcome.status} score={body['score']} error={body['error']} dedup={dedup}"


def row_counts(changes: Iterable[RowChange]) -> dict[str, dict[str, int]]:
    """Return the net number of inserted, updated and deleted rows of each table."""
    words = {Op.INSERT: "inserted", Op.UPDATE: "updated", Op.DELETE: "deleted"}
    counts: dict[str, dict[str, int]] = defaultdict(dict)
    for change in changes:
        word = words[change.op]
        counts[change.table][word] = counts[change.table].get(word, 0) + 1
    return dict(counts)


def _unobserved(step: Step, run: StepRun) -> list[Difference]:
    responses = sorted(summary(outcome) for outcome in run.outcomes)
    rows = {table: count for table, count in row_counts(run.changes).items() if table != _JUDGED_BY_PROMISE}
    for outcome in step.outcomes:
        observed = {table: count for table, count in outcome["rows"].items() if table != _JUDGED_BY_PROMISE}
        if sorted(outcome["responses"]) == responses and observed == rows:
            return []
    return [Difference(Kind.CHANGED, ("outcome",), "one of those observed", json.dumps([responses, rows]))]


def _broken(promise: str, wanted: object, got: object) -> Difference:
    return Difference(Kind.CHANGED, ("promise", promise), wanted, got)


def _answered(outcome: Response | Failed) -> bool:
    return isinstance(outcome, Response) and outcome.status < 500


def _status(outcome: Response | Failed) -> str:
    return str(outcome.status) if isinstance(outcome, Response) else f"{outcome.cause}: {outcome.detail}"


def _written(changes: Iterable[RowChange], table: str) -> list[Row]:
    return [change.after for change in changes if change.table == table and change.after]


def _stamp_keys(stamps: Iterable[Row]) -> list[tuple[str | None, ...]]:
    return [(row["passport_id"], row["provider"]) for row in stamps]


def _repeated(keys: Iterable[Any]) -> list[Any]:
    return [key for key, count in Counter(keys).items() if count > 1]


def _contested(stamps: Iterable[Row]) -> list[str]:
    """Return the nullifiers that count for more than one passport."""
    owners: dict[str, set[str | None]] = defaultdict(set)
    for row in stamps:
        subject = json.loads(row["credential"] or "{}").get("credentialSubject", {})
        for nullifier in subject.get("nullifiers") or ():
            owners[nullifier].add(row["passport_id"])
    return sorted(nullifier for nullifier, passports in owners.items() if len(passports) > 1)


def _torn(events: Iterable[Row]) -> list[tuple[str, str]]:
    """Return the score events whose sum is not that of their own stamps."""
    torn: list[tuple[str, str]] = []
    for row in events:
        data = json.loads(row["data"] or "{}")
        if row["action"] != "SCU" or not isinstance(data, dict):
            continue
        fields = data["fields"]
        total = sum((Decimal(str(value)) for value in fields["stamp_scores"].values()), Decimal(0))
        if abs(total - Decimal(fields["evidence"]["rawScore"])) > Decimal("0.00001"):
            torn.append((fields["evidence"]["rawScore"], str(total)))
    return torn


def _unlike(outcomes: Iterable[Response | Failed]) -> list[str]:
    """Return the addresses that got different scores."""
    told: dict[str, set[str]] = defaultdict(set)
    for outcome in outcomes:
        body = _body(outcome) if isinstance(outcome, Response) else {}
        if "address" in body and "score" in body:
            told[body["address"]].add(summary(outcome))
    return sorted(f"{address}: {sorted(scores)}" for address, scores in told.items() if len(scores) > 1)


def _body(response: Response) -> dict[str, Any]:
    try:
        document = json.loads(response.body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
