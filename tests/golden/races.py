"""Judge a step of concurrent calls: the scorer must keep its promises, and the outcome must be one that the legacy had.

Pure. Concurrent requests make the legacy duplicate stamps and store inconsistent scores, so the number of stamp rows is judged by
the promises only; everything else must equal one of the recorded outcomes.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import zip_longest
from types import MappingProxyType
from typing import Any

from comparator.exchanges.difference import Difference, Kind
from comparator.exchanges.model import Failed, Response
from comparator.exchanges.row_changes import Op, Row, RowChange
from tests.golden.replay import StepRun
from tests.golden.scenario import Call, Step

_JUDGED_BY_PROMISE = "registry_stamp"
_COMMUNITY = re.compile(r"(?:/stamps/|/score/v2/|/embed/score/|alternate_scorer_id=)(\d+)(?:/|&|$)")


def judge_race(step: Step, run: StepRun) -> list[Difference]:
    """Return broken promises, or the outcome if the legacy never had it."""
    return [*promises_of(step, run), *_unobserved(step, run)]


def promises_of(step: Step, run: StepRun) -> list[Difference]:
    """Return the promises that a step breaks."""
    return broken_promises(run.outcomes, run.changes, calls=step.calls, communities=run.communities)


def is_as_recorded(step: Step, run: StepRun) -> bool:
    """Return True if every call of a race had the response that the recording shows, which is one of several outcomes."""
    recorded = [
        summary(Response(call.response["status"], (), json.dumps(call.response.get("body")).encode()))
        for call in step.calls
    ]
    return recorded == [summary(outcome) for outcome in run.outcomes]


def broken_promises(
    outcomes: Sequence[Response | Failed],
    changes: Sequence[RowChange],
    *,
    calls: Sequence[Call] = (),
    communities: Mapping[str | None, str | None] = MappingProxyType({}),
) -> list[Difference]:
    """Check the promises: one owner per nullifier, no duplicate stamp, no inconsistent score, no lost response, no 500.

    Owners and scores are a community's: the same address may have different ones in two communities.

    Args:
        outcomes: the responses of calls sent at the same moment.
        changes: the rows that they changed.
        calls: the calls, in the order of the outcomes; without them, all concern one community.
        communities: the community of each passport, by their ids; passports that are missing are in one.
    """
    found = [_broken("response", "below 500", _status(outcome)) for outcome in outcomes if not _answered(outcome)]
    stamps = _written(changes, "registry_stamp")
    found += [_broken("one_stamp_a_provider", 1, repr(key)) for key in _repeated(_stamp_keys(stamps))]
    found += [_broken("one_owner_a_nullifier", 1, repr(key)) for key in _contested(stamps, communities)]
    found += [_broken("whole_score", raw, total) for raw, total in _torn(_written(changes, "registry_event"))]
    found += [_broken("one_answer_an_address", "equal", text) for text in _unlike(outcomes, calls)]
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


def _contested(stamps: Iterable[Row], communities: Mapping[str | None, str | None]) -> list[str]:
    """Return the nullifiers that count for more than one passport of a community."""
    owners: dict[tuple[str, str | None], set[str | None]] = defaultdict(set)
    for row in stamps:
        subject = json.loads(row["credential"] or "{}").get("credentialSubject", {})
        for nullifier in subject.get("nullifiers") or ():
            owners[nullifier, communities.get(row["passport_id"])].add(row["passport_id"])
    return sorted(nullifier for (nullifier, _), passports in owners.items() if len(passports) > 1)


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


def _unlike(outcomes: Sequence[Response | Failed], calls: Sequence[Call]) -> list[str]:
    """Return the addresses that got different scores in one community."""
    scores: dict[tuple[str, str], set[str]] = defaultdict(set)
    for outcome, call in zip_longest(outcomes, calls):
        body = _body(outcome) if isinstance(outcome, Response) else {}
        if "address" in body and "score" in body:
            scores[body["address"], community_of(call) if call else ""].add(summary(outcome))
    return sorted(f"{address}: {sorted(texts)}" for (address, _), texts in scores.items() if len(texts) > 1)


def community_of(call: Call) -> str:
    """Return the community that a call names, in its path or its body; "" for the default one."""
    match = _COMMUNITY.search(call.target)
    if match:
        return match[1]
    try:
        body = json.loads(call.body or b"{}")
    except ValueError:
        return ""
    named = body.get("scorer_id", body.get("alternate_scorer_id", "")) if isinstance(body, dict) else ""
    return str(named or "")


def _body(response: Response) -> dict[str, Any]:
    try:
        document = json.loads(response.body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
