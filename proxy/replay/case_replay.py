"""Repeat a stored case on both sides, from the rows that its request found when it was recorded.

    case: POST /order, the legacy inserted order 7 and set stock 3 from {left 5} to {left 4}
    shadow now      order 7 exists, stock 3 is {left 2}: it equals live, which has gone on since
    put back        order 7 is deleted, stock 3 becomes {left 5}
    both sides run, each is undone; then order 7 and stock 3 are again what they were

Only rows that the request changed are in a case. Rows of the same natural keys that later requests inserted, by their numbers, are put aside
too. Whether any other row matters shows in the legacy's own run, which must do what it did then.
"""

import datetime as dt
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from http import HTTPStatus
from typing import Final

import msgspec

from comparator.capture.table_shape import TableShape
from comparator.effects.row_fold import NetRow, RowKey, Unknown, fold
from comparator.exchanges.model import Exchange, Observation, Response, Role, Side
from comparator.exchanges.redacted_text import REDACTED_VALUE
from comparator.exchanges.row_changes import Op, Row
from comparator.findings.cases import Case, OpenedCase, case_of, open_case
from comparator.findings.redaction import Redactor
from comparator.findings.verification import (
    CaseVerification,
    FindingPlace,
    FindingVerifier,
    VerificationOutcome,
)
from comparator.tables import Table
from proxy.config.settings import Settings
from proxy.errors import ShadowDriftError
from proxy.replay.compare_run import ORDER, ReplayShadow, open_shadow
from proxy.replay.credentials import ReplayCredentials, credentials_of
from proxy.replay.errors import OptionError, ReplayError
from proxy.replay.http_target import ReplayTarget, UrlRewrite, open_target
from proxy.runner.result_sink import redactor_of
from proxy.runner.resync import LaterRows
from proxy.runner.row_targets import Alignment, RowTarget

TIMEOUT_S: Final = 30.0
"""Time for a response."""


class UnrestorableError(ReplayError):
    """The rows that a request found cannot be put back; the message says why."""


def rows_before(case: OpenedCase, primary_keys: Mapping[str, Sequence[str]]) -> dict[RowKey, Row | None]:
    """Return the rows that either side changed, as they were before the request; None for one that was absent.

    Rows of tables without a primary key cannot be told apart, and are left as they are.

    Args:
        case: the case.
        primary_keys: of the captured tables.

    Raises:
        UnrestorableError: a table was emptied, or the log did not carry the image of a row.
    """
    result: dict[RowKey, Row | None] = {}
    for side in (case.mirrored, case.served):
        net: dict[RowKey, NetRow] = {}
        for change in (change for transaction in side.effects.transactions for change in transaction.changes):
            key = primary_keys.get(change.table)
            if change.op is Op.TRUNCATE:
                raise UnrestorableError(f"the request emptied {change.table}, whose rows are not in the case")
            if key:
                fold(net, change, key)
        for row, changed in net.items():
            if isinstance(changed.before, Unknown):
                raise UnrestorableError(f"the case lacks a row of {row[0]} as it was (no REPLICA IDENTITY FULL)")
            result[row] = changed.before
    return result


def later_rows(case: OpenedCase, tables: Mapping[str, Table], shapes: Mapping[str, TableShape]) -> list[LaterRows]:
    """Return what later requests have inserted for the natural keys of a case, where the database numbers the rows.

    Args:
        case: the case.
        tables: the descriptions of tables, for their natural keys.
        shapes: of the captured tables.
    """
    images: dict[str, list[Row]] = {}
    inserted: dict[str, list[int]] = {}
    for side in (case.served, case.mirrored):
        for change in (change for transaction in side.effects.transactions for change in transaction.changes):
            images.setdefault(change.table, []).extend(image for image in (change.before, change.after) if image)
            if (
                side is case.served
                and change.op is Op.INSERT
                and change.after
                and _is_numbered(shapes.get(change.table))
            ):
                number = change.after.get(shapes[change.table].primary_key[0])
                inserted.setdefault(change.table, []).extend([int(number)] if number else [])
    result: list[LaterRows] = []
    for table, numbers in inserted.items():
        columns = tables[table].natural_key if table in tables else ()
        values = {tuple(image.get(column) for column in columns) for image in images[table]}
        plain = tuple(v for v in values if not any(REDACTED_VALUE.search(text) for text in v if text))
        if columns and numbers and plain:
            result.append(LaterRows(table, tuple(columns), plain, str(max(numbers))))
    return result


def _is_numbered(shape: TableShape | None) -> bool:
    return (
        shape is not None
        and len(shape.primary_key) == 1
        and shape.types[shape.primary_key[0]] in {"smallint", "integer", "bigint"}
    )


def restoring(
    before: Mapping[RowKey, Row | None], current: Mapping[RowKey, Row], columns: Mapping[str, Sequence[str]]
) -> Alignment:
    """Return the changes that put the rows back; a value that the case has redacted stays what it is.

    Args:
        before: the rows as they are to be.
        current: those of them that exist, as they are.
        columns: by table, the columns that can be written.

    Raises:
        UnrestorableError: a row that no longer exists had a secret in it.
    """
    targets: list[RowTarget] = []
    for (table, identity), image in before.items():
        present = current.get((table, identity))
        target = None if image is None else _image(table, image, present, columns[table])
        if target != present:
            targets.append(RowTarget(table, identity, present, target))
    return Alignment(targets)


def _image(table: str, image: Row, present: Row | None, columns: Sequence[str]) -> Row:
    result: dict[str, str | None] = {}
    for column in columns:
        value = image.get(column) if column in image or present is None else present[column]
        if value is not None and REDACTED_VALUE.search(value):
            if present is None:
                raise UnrestorableError(f"a row of {table} is gone, and {table}.{column} of it is a secret")
            value = present[column]
        result[column] = value
    return result


def reverse(work: Alignment) -> Alignment:
    """Return the changes that undo an alignment."""
    return Alignment([RowTarget(row.table, row.identity, row.target, row.current) for row in work.rows])


class CaseReplay:
    """Repeats cases on both shadow instances.

    Args:
        settings: of config.yaml.
        shadow: the shadow database, which nothing else writes to.
        targets: both sides' shadow instances.
        credentials: replace digests in requests.
        redactor: redacts new observations as the cases are.
    """

    def __init__(
        self,
        settings: Settings,
        shadow: ReplayShadow,
        targets: Mapping[Side, ReplayTarget],
        credentials: ReplayCredentials,
        redactor: Redactor,
    ) -> None:
        self._compare = settings.compare
        self._shadow = shadow
        self._targets = targets
        self._credentials = credentials
        self._redactor = redactor

    async def verify(self, finding: FindingPlace, case: Case) -> CaseVerification:
        """Repeat one case and judge it.

        Raises:
            ShadowDriftError, DatabaseUnreachableError: the shadow could not be made what it was.
        """
        verifier, now = FindingVerifier(self._compare, finding), dt.datetime.now(dt.UTC)
        recorded = open_case(case)
        undecided = CaseVerification(
            case.exchange, f"{case.request.method} {case.request.target}", VerificationOutcome.UNDECIDED
        )
        if reason := verifier.unsuitable(recorded, now=now):
            return msgspec.structs.replace(undecided, reason=reason)
        rewritten = self._credentials.rewrite(recorded.exchange.request, now_s=int(time.time()))
        try:
            async with self._as_it_was(recorded):
                repeated = await self._run(replace(recorded.exchange, request=rewritten.request))
        except UnrestorableError as error:
            return msgspec.structs.replace(undecided, reason=str(error))
        if rewritten.missing and any(map(_refuses, (repeated.served.outcome, repeated.mirrored.outcome))):
            places = ", ".join(rewritten.missing)
            return msgspec.structs.replace(
                undecided, reason=f"it was sent without credentials: {places} (replay.credentials)"
            )
        outcome, reason, remaining = verifier.judge(recorded, repeated, now=now)
        return msgspec.structs.replace(undecided, outcome=outcome, reason=reason, remaining=remaining)

    async def _run(self, exchange: Exchange) -> OpenedCase:
        """Let both sides serve the request, and return it as a case that is redacted like the stored one."""
        runs: dict[Side, Observation] = {}
        for side in ORDER:
            await self._shadow.undo_strays()
            target = self._targets[side]
            runs[side] = await self._shadow.run(
                side, lambda sent=target: sent.request(exchange.request, request_id=exchange.id)
            )
        return open_case(case_of(exchange, runs[Side.LEGACY], runs[Side.CANDIDATE], self._redactor))

    @asynccontextmanager
    async def _as_it_was(self, recorded: OpenedCase) -> AsyncGenerator[None]:
        """Put the rows of a case back for the block, and then what was there."""
        shapes = self._shadow.shapes
        later = await self._shadow.read_later(later_rows(recorded, self._compare.tables, shapes))
        before = dict.fromkeys(later) | rows_before(recorded, self._shadow.primary_keys)
        current = {**later, **await self._shadow.read(before)}
        work = restoring(before, current, {name: shape.writable for name, shape in shapes.items()})
        try:
            try:
                if work:
                    await self._shadow.write(work)
            except ShadowDriftError as error:
                raise UnrestorableError(f"the rows that the request found cannot be put back: {error}") from error
            yield
        finally:
            await self._shadow.undo_strays()
            if work:
                await self._shadow.write(reverse(work))


def _refuses(outcome: object) -> bool:
    return isinstance(outcome, Response) and outcome.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


@asynccontextmanager
async def open_case_replay(settings: Settings, environ: Mapping[str, str], salt: bytes) -> AsyncGenerator[CaseReplay]:
    """Open the shadow database and both shadow instances for the block, during which the runner cannot start.

    Args:
        settings: of config.yaml.
        environ: for the values of credentials.
        salt: key of the digests in cases.

    Raises:
        OptionError: change data capture is off.
        RunnerRunningError: the runner is running.
        TargetUnavailableError: an instance cannot be reached.
        SettingsError, CaptureError: a database cannot be used; the message says what to do.
    """
    async with AsyncExitStack() as stack:
        targets: dict[Side, ReplayTarget] = {}
        for side in Side:
            backend = settings.backends.of(side, Role.MIRRORED)
            if not backend.url:
                raise OptionError(f"backends.{side}.shadow.url is empty: the case is repeated on both shadow instances")
            targets[side] = await stack.enter_async_context(open_target(backend, UrlRewrite(), timeout_s=TIMEOUT_S))
            await targets[side].connect()
        shadow = await stack.enter_async_context(open_shadow(settings))
        redactor = redactor_of(settings.compare, settings.journal.redaction, salt)
        yield CaseReplay(settings, shadow, targets, credentials_of(settings.replay, environ), redactor)
