"""Collect what the conditions of known differences look at in one exchange; bodies are parsed when a condition asks for them. Pure."""

from collections.abc import Sequence
from functools import cache

from comparator.exchanges.json_values import ABSENT
from comparator.exchanges.model import EffectsOutcome, Observation, Request, Response
from comparator.responses.bodies import decode
from comparator.responses.exact_json import InvalidJsonError, parse
from comparator.rules.conditions import ExchangeEvidence, RowImage, SideEvidence, images_of

NO_REQUEST = Request("", "", (), b"")


def evidence_of(
    observations: Sequence[Observation], *, request: Request | None, key: str, body_max_bytes: int
) -> ExchangeEvidence:
    """Return the evidence of one exchange.

    Args:
        observations: of both sides. Rows that are not surely this exchange's are no evidence.
        request: the request, None if it is not known.
        key: its ordering key, "" for none.
        body_max_bytes: greatest decoded size of a body that is looked at.
    """
    sent = request or NO_REQUEST
    return ExchangeEvidence(
        method=sent.method,
        target=sent.target,
        headers=sent.headers,
        document=cache(lambda: _document(Response(0, sent.headers, sent.body), body_max_bytes)),
        key=key,
        sides={observation.side: side_evidence(observation, body_max_bytes) for observation in observations},
    )


def side_evidence(observation: Observation, body_max_bytes: int) -> SideEvidence:
    """Return what one side did."""
    outcome = observation.outcome
    rows = rows_of(observation)
    if not isinstance(outcome, Response):
        return SideEvidence(0, (), lambda: ABSENT, rows)
    return SideEvidence(outcome.status, outcome.headers, cache(lambda: _document(outcome, body_max_bytes)), rows)


def rows_of(observation: Observation) -> tuple[RowImage, ...]:
    """Return the rows that a side surely changed."""
    effects = observation.effects
    if effects.outcome is not EffectsOutcome.ATTRIBUTED:
        return ()
    return tuple(image for transaction in effects.transactions for image in images_of(transaction.changes))


def _document(message: Response, max_bytes: int) -> object:
    """Return the JSON document of a message, ABSENT if its body is none."""
    body = decode(message, max_bytes)
    if not isinstance(body, bytes) or not body:
        return ABSENT
    try:
        return parse(body)
    except InvalidJsonError:
        return ABSENT
