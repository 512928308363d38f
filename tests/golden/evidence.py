"""Collect the evidence of one step, on which the conditions of declared differences are evaluated.

In production the evidence is an exchange: its request, and what both sides answered and wrote. A recording also has the rows that were there
before; those of the addresses that a call names count as rows of both sides.
"""

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from comparator.exchanges.model import Effects, EffectsOutcome, Failed, Observation, Request, Response, Role, Side
from comparator.exchanges.row_changes import RowChange, Transaction
from comparator.responses.exchange_evidence import evidence_of
from comparator.rules.conditions import ExchangeEvidence, RowImage
from tests.golden.replay import StepRun
from tests.golden.scenario import Call, Row, Scenario
from tests.golden.textual import row_text

BODY_MAX_BYTES = 64_000_000


def evidence_of_step(scenario: Scenario, index: int, run: StepRun, recorded: list[RowChange]) -> list[ExchangeEvidence]:
    """Return the evidence of each call of a step.

    Args:
        scenario: the scenario.
        index: of the step, from 0.
        run: the step as the scorer ran it.
        recorded: the row changes of the legacy.
    """
    step = scenario.steps[index]
    return [
        _with_rows(_of_call(call, outcome, run, recorded), tuple(stored_rows(scenario, index, call)))
        for call, outcome in zip(step.calls, run.outcomes, strict=True)
    ]


def _of_call(call: Call, outcome: Response | Failed, run: StepRun, recorded: list[RowChange]) -> ExchangeEvidence:
    observations = (
        _observation(Side.LEGACY, Role.SERVED, response_of(call), recorded),
        _observation(Side.CANDIDATE, Role.MIRRORED, outcome, list(run.changes)),
    )
    request = Request(call.method, call.target, call.headers, call.body)
    return evidence_of(observations, request=request, key="", body_max_bytes=BODY_MAX_BYTES)


def response_of(call: Call) -> Response:
    """Return the recorded response."""
    recorded = call.response
    body = json.dumps(recorded["body"]) if "body" in recorded else recorded.get("body_text", "")
    return Response(recorded["status"], tuple(recorded.get("headers", {}).items()), body.encode())


def _observation(side: Side, role: Role, outcome: Response | Failed, changes: list[RowChange]) -> Observation:
    transactions = (Transaction(xid=1, commit_lsn=1, end_lsn=1, committed_us=0, changes=tuple(changes)),)
    return Observation(side, role, outcome, 0, Effects(EffectsOutcome.ATTRIBUTED, transactions if changes else ()))


def _with_rows(evidence: ExchangeEvidence, rows: tuple[RowImage, ...]) -> ExchangeEvidence:
    return replace(
        evidence, sides={side: replace(one, rows=(*one.rows, *rows)) for side, one in evidence.sides.items()}
    )


def stored_rows(scenario: Scenario, index: int, call: Call) -> Iterator[RowImage]:
    """Generate the rows of the addresses that a call names: those of the seed, and as they were changed directly before this step."""
    named = _text_of(call)
    for table, rows in scenario.seed.items():
        yield from (RowImage(table, row_text(table, row)) for row in rows if _is_named(row, named))
    for step in scenario.steps[:index]:
        for change in step.patches:
            row = {**change.get("where", {}), **change.get("set", {})}
            if change.get("table") and ("address" not in row or _is_named(row, named)):
                yield RowImage(change["table"], row_text(change["table"], row))


def _is_named(row: Row, text: str) -> bool:
    address = row.get("address")
    return isinstance(address, str) and address.lower() in text


def _text_of(call: Call) -> str:
    """Return all in which a call can name an address: path, body and token, in lower case."""
    token = "".join(value for name, value in call.headers if name.lower() == "authorization")
    return f"{call.target} {call.body.decode(errors='replace')} {_claims(token)}".lower()


def _claims(token: str) -> str:
    """Return the claims of a JWT as text, "" for anything else."""
    parts = token.split(".")
    if len(parts) != 3:
        return ""
    try:
        claims: Any = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
    except ValueError:
        return ""
    return claims.decode(errors="replace")
