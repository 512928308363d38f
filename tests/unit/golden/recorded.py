"""Build the run of a scorer that behaves exactly as recorded."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

import jwt

from comparator.exchanges.model import Response
from tests.golden.judge import recorded_row_changes
from tests.golden.replay import StepRun
from tests.golden.scenario import Call, Scenario, Step
from tests.golden.serving import signing_key
from tests.golden.times import moved


def as_run(scenario: Scenario) -> list[StepRun]:
    """Return the step's run of a scorer that behaves exactly as recorded."""
    return [_step_run(step) for step in scenario.steps]


def _step_run(step: Step) -> StepRun:
    offset = datetime.now(UTC) - (step.started or datetime.now(UTC))
    outcomes = tuple(_response(step, call, offset) for call in step.calls)
    return StepRun(outcomes, tuple(recorded_row_changes(step, offset)), offset)


def _response(step: Step, call: Call, offset: Any) -> Response:
    pointers = {pointer: how for pointer, how in step.volatile.items() if pointer.startswith("/response/")}
    response = moved({"response": call.response}, pointers, offset)["response"]
    if step.jwt and "access" in response.get("body", {}):
        response["body"]["access"] = _token(step.jwt)
    body = response["body_text"] if "body_text" in response else json.dumps(response["body"])
    return Response(response["status"], tuple(response["headers"].items()), body.encode())


def _token(recorded: dict[str, Any]) -> str:
    claims = dict(recorded["claims"])
    now = int(datetime.now(UTC).timestamp())
    claims |= {"iat": now, "exp": now + recorded["claims"]["exp"] - recorded["claims"]["iat"]}
    return jwt.encode(claims, base64.b64decode(signing_key()[0]), algorithm="RS256", headers=recorded["header"])
