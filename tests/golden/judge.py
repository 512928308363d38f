"""Compare one step of a recording with the same step of this run, with the project's comparator.

The recorded legacy is the served side and the scorer the mirrored one, so `missing` means missing at the scorer. The rules come
from the recording: values that it marks as volatile may differ in the marked way, arrays that it marks as unordered are compared as
multisets, and everything else must be equal.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt

from comparator.exchanges.difference import Difference, Kind
from comparator.exchanges.json_place import path_text
from comparator.exchanges.model import Effects, EffectsOutcome, Failed, Observation, Response, Role, Side
from comparator.exchanges.row_changes import Op, RowChange, Transaction
from comparator.exchanges.table_schema import TableSchema
from comparator.settings import CompareSettings, HeaderRules, RuleSettings
from comparator.tables import JsonColumn, Table, Volatile
from comparator.verdict import Comparator
from tests.golden import times
from tests.golden.identities import NATURAL_KEYS, REFERENCES, Identities
from tests.golden.replay import StepRun
from tests.golden.scenario import Call, Step
from tests.golden.serving import signing_key
from tests.golden.textual import row_text, schema

BODY_MAX_BYTES = 64_000_000
UNRECORDED_HEADERS = frozenset({"date", "server", "content-length", "connection"})
"""Headers about the server and the connection; all other headers of both responses are compared."""
_TIME_IN_TEXT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+\+00:00")
_LIST_IN_TEXT = re.compile(r"\[.*\]", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Found:
    """One difference at one step of a scenario (counted from 0)."""

    step: int
    difference: Difference


SCHEMAS = {
    table: TableSchema(tuple(facts["primary_key"]), facts["columns"], tuple(facts["identity"]))
    for table, facts in schema().items()
}
"""Identity and types of the legacy's tables."""


def judge_step(index: int, step: Step, run: StepRun, identities: Identities) -> list[Found]:
    """Return the differences in a step with one call."""
    recorded_changes = recorded_row_changes(step, run.offset)
    identities.learn(recorded_changes, run.changes)
    ours = [identities.change(change) for change in run.changes]
    # After a race the recording may say of whole tables or rows that they vary from run to run.
    unjudged = undefined_tables(step)
    recorded_changes = [change for change in recorded_changes if change.table not in unjudged]
    ours = [change for change in ours if change.table not in unjudged]
    call, outcome = step.calls[0], run.outcomes[0]
    compared = Comparator(_settings(step, run.outcomes)).compare(
        "",
        _observed(Side.LEGACY, Role.SERVED, _recorded_response(step, call, run.offset), recorded_changes),
        _observed(Side.CANDIDATE, Role.MIRRORED, _this_response(step, outcome, identities), ours),
        now=datetime.now(UTC),
    )
    differences = list(compared.differences)
    if isinstance(outcome, Failed):
        differences.append(Difference(Kind.STATUS, (), call.response["status"], f"{outcome.cause}: {outcome.detail}"))
    if isinstance(outcome, Response):
        differences += _styles(step, outcome) + _token(step, outcome)
    differences += [
        Difference(Kind.EXTRA, ("(call to another service)",), mirrored=text) for text in run.unexpected_calls
    ]
    return [Found(index, difference) for difference in differences]


def recorded_row_changes(step: Step, offset: timedelta) -> list[RowChange]:
    """Return the recorded row changes as the comparator reads them, with volatile times moved to this run's clock."""
    pointers = {pointer: how for pointer, how in step.volatile.items() if pointer.startswith("/db_changes/")}
    tables = times.moved({"db_changes": step.db_changes}, pointers, offset)["db_changes"]
    return [change for table, kinds in tables.items() for change in _changes_of(table, kinds, offset)]


def _changes_of(table: str, kinds: dict[str, list[Any]], offset: timedelta) -> Iterator[RowChange]:
    for row in kinds.get("inserted", ()):
        yield RowChange(table, Op.INSERT, None, _row(table, row, offset))
    for pair in kinds.get("updated", ()):
        yield RowChange(table, Op.UPDATE, _row(table, pair["before"], offset), _row(table, pair["after"], offset))
    for row in kinds.get("deleted", ()):
        yield RowChange(table, Op.DELETE, _row(table, row, offset), None)


def _row(table: str, row: dict[str, Any], offset: timedelta) -> dict[str, str | None]:
    types = schema()[table]["columns"]
    moved = {
        name: _TIME_IN_TEXT.sub(lambda match: times.shifted(match[0], offset), value)
        if types[name] == "jsonb" and isinstance(value, str) and "last_score_timestamp" in value
        else value
        for name, value in row.items()
    }
    return row_text(table, moved)


def undefined_tables(step: Step) -> frozenset[str]:
    """Return the tables of which the recording marks more than columns as volatile: a row, all rows, or everything."""
    tables: set[str] = set()
    for parts in map(times.parts_of, step.volatile):
        if parts[0] == "db_changes" and not _column_of(parts):
            tables |= {parts[1]} if len(parts) > 1 else set(schema())
    return frozenset(tables)


def _column_of(parts: Sequence[str]) -> Sequence[str]:
    """Return the column, and the path in it, that a pointer into `db_changes` names; () if it names something larger."""
    # /db_changes/<table>/inserted/<n>/<column> and /db_changes/<table>/updated/<n>/after/<column>
    return parts[5:] if parts[2:3] == ["updated"] else parts[4:]


def table_descriptions(step: Step) -> dict[str, Table]:
    """Describe every table: its natural key, and the columns and JSON paths that the recording marks as volatile."""
    volatile: dict[str, dict[str, Volatile]] = {}
    inside: dict[str, dict[str, dict[str, int]]] = {}
    for pointer, how in step.volatile.items():
        parts = times.parts_of(pointer)
        if parts[0] != "db_changes" or not _column_of(parts):
            continue
        table, (column, *path) = parts[1], _column_of(parts)
        if path:
            inside.setdefault(table, {}).setdefault(column, {})[path_text(path)] = times.TOLERANCE_MS
        elif schema()[table]["columns"][column] == "jsonb":
            inside.setdefault(table, {}).setdefault(column, {})["**.last_score_timestamp"] = times.TOLERANCE_MS
        elif how in times.MOVING:
            volatile.setdefault(table, {})[column] = Volatile(within_ms=times.TOLERANCE_MS)
        else:
            volatile.setdefault(table, {})[column] = Volatile(ignore=True)
    return {name: _description(name, volatile.get(name, {}), inside.get(name, {})) for name in schema()}


def _description(name: str, volatile: dict[str, Volatile], inside: dict[str, dict[str, int]]) -> Table:
    facts = schema()[name]
    kinds: dict[str, str] = facts["columns"]
    primary = tuple(facts["primary_key"])
    natural = NATURAL_KEYS.get(name, primary) or tuple(
        column for column in kinds if column not in {*primary, *volatile}
    )
    return Table(
        natural_key=natural,
        references=dict(REFERENCES.get(name, {})),
        volatile=volatile,
        json={
            column: JsonColumn(within_ms=inside.get(column, {}), decode_text=True)
            for column, kind in kinds.items()
            if kind == "jsonb"
        },
    )


def _settings(step: Step, responses: Sequence[Response | Failed]) -> CompareSettings:
    rules = [
        RuleSettings(path=_body_path(pointer), unordered=True) for pointer in step.unordered if _body_path(pointer)
    ]
    for pointer, how in step.volatile.items():
        path = _body_path(pointer)
        if path and how in times.MOVING:
            rules.append(RuleSettings(path=path, time_within_ms=times.TOLERANCE_MS))
        elif path and how == "differs":
            rules.append(RuleSettings(path=path, ignore=True))
    names = {name.lower() for call in step.calls for name in call.response["headers"]}
    names |= {name.lower() for response in responses if isinstance(response, Response) for name, _ in response.headers}
    return CompareSettings(
        rules=tuple(rules),
        headers=HeaderRules(compare=tuple(sorted(names - UNRECORDED_HEADERS))),
        tables=table_descriptions(step),
        body_max_bytes=BODY_MAX_BYTES,
    )


def _body_path(pointer: str) -> str:
    parts = times.parts_of(pointer)
    if parts[:2] != ["response", "body"]:
        return ""
    return path_text([int(part) if part.isdigit() else part for part in parts[2:]])


def _recorded_response(step: Step, call: Call, offset: timedelta) -> Response:
    response = times.moved({"response": call.response}, _of_response(step), offset)["response"]
    body = _normalised(step, response["body"]) if "body" in response else response.get("body_text", "").encode()
    return Response(response["status"], tuple(response["headers"].items()), body)


def _this_response(step: Step, outcome: Response | Failed, identities: Identities) -> Response | Failed:
    if isinstance(outcome, Failed):
        return outcome
    try:
        document = json.loads(outcome.body)
    except ValueError:
        return outcome
    body = identities.body(document)
    return Response(outcome.status, outcome.headers, _normalised(step, body))


def _of_response(step: Step) -> dict[str, str]:
    return {pointer: how for pointer, how in step.volatile.items() if pointer.startswith("/response/")}


def _normalised(step: Step, document: Any) -> bytes:
    """Encode the document; sort a list inside a text if the recording marks its order as undefined."""
    holder = {"response": {"body": document}}
    for pointer, how in _of_response(step).items():
        text = times.value_at(holder, pointer) if "order" in how else None
        if isinstance(text, str):
            times.replaced(holder, pointer, _LIST_IN_TEXT.sub(_in_order, text))
    return json.dumps(holder["response"]["body"]).encode()


def _in_order(match: re.Match[str]) -> str:
    return json.dumps(sorted(json.loads(match[0]), key=json.dumps))


def _observed(side: Side, role: Role, outcome: Response | Failed, changes: list[RowChange]) -> Observation:
    transaction = Transaction(xid=1, commit_lsn=1, end_lsn=1, committed_us=0, changes=tuple(changes))
    effects = Effects(EffectsOutcome.ATTRIBUTED, (transaction,) if changes else (), SCHEMAS)
    return Observation(side, role, outcome, 0, effects)


def _styles(step: Step, outcome: Response) -> list[Difference]:
    """Compare the format of volatile times in the response with the recorded one (milliseconds and Z, or isoformat)."""
    found: list[Difference] = []
    for pointer, how in _of_response(step).items():
        if how not in times.MOVING:
            continue
        recorded = times.value_at({"response": step.calls[0].response}, pointer)
        ours = times.value_at({"response": {"body": _document(outcome)}}, pointer)
        if isinstance(recorded, str) and isinstance(ours, str) and recorded.endswith("Z") != ours.endswith("Z"):
            found.append(Difference(Kind.CHANGED, tuple(times.parts_of(pointer)[2:]), recorded, ours))
    return found


def _document(response: Response) -> Any:
    try:
        return json.loads(response.body)
    except ValueError:
        return None


def _token(step: Step, outcome: Response) -> list[Difference]:
    """Compare an issued token with the recorded one: equal header and claims, the same lifetime from now on, any id."""
    document = _document(outcome)
    if step.jwt is None or not isinstance(document, dict) or "access" not in document:
        return []
    token = document["access"]
    claims = jwt.decode(token, signing_key()[1], algorithms=["RS256"], options={"verify_aud": False})
    wanted = dict(step.jwt["claims"])
    lifetime = wanted["exp"] - wanted["iat"]
    now = datetime.now(UTC).timestamp()
    wanted |= {"iat": claims.get("iat"), "exp": claims.get("iat", 0) + lifetime, "jti": claims.get("jti")}
    pairs: list[tuple[str, Any, Any]] = [
        ("header", step.jwt["header"], jwt.get_unverified_header(token)),
        ("claims", wanted, claims),
        ("jti", True, len(str(claims.get("jti", ""))) == len("00000000-0000-4000-8000-000000000001")),
        ("iat", True, abs(now - claims.get("iat", 0)) < times.TOLERANCE_MS / 1000),
    ]
    return [Difference(Kind.CHANGED, ("access", name), a, b) for name, a, b in pairs if a != b]
