"""Judge whether a build fixes a finding, from a stored case and a new run of its request on both sides. Pure.

    recorded   the case: served and mirrored, under the present rules
    repeated   the new build and the legacy, from the rows that the request found then
    legacy     the legacy then and now: it is the control

The finding is fixed where it no longer occurs and nothing else has begun to differ. That says something only where the legacy does what it
did then: where it does not, the request met another state or another legacy, and the case is undecided.
"""

import datetime as dt
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from comparator.exchanges.comparison import Comparison, Verdict
from comparator.exchanges.difference import Difference
from comparator.exchanges.model import Observation, Side
from comparator.findings.cases import OpenedCase
from comparator.findings.clustering import Clusterer, Signature
from comparator.findings.rule_trial import compare_case
from comparator.findings.tokens import token_of
from comparator.settings import CompareSettings, RuleSettings
from comparator.tables import JsonColumn, Table, Volatile
from comparator.verdict import Comparator

PLACES_MAX: Final = 5
"""Places that a reason names."""


class VerificationOutcome(StrEnum):
    """The result of replaying one case, or all cases of a finding."""

    FIXED = "fixed"
    NOT_FIXED = "not_fixed"
    SOMETHING_ELSE_BROKE = "something_else_broke"
    UNDECIDED = "undecided"


class CaseVerification(msgspec.Struct, frozen=True):
    """The result of one case.

    Attributes:
        exchange: id of the exchange that the case was recorded from.
        request: its method and target, redacted.
        outcome: the result.
        reason: the difference that is still there or new, or why the case is undecided; "" for a fixed one.
        remaining: other differences of the case that are still there: they are other findings.
    """

    exchange: str
    request: str
    outcome: VerificationOutcome
    reason: str = ""
    remaining: tuple[str, ...] = ()


class FindingPlace(msgspec.Struct, frozen=True):
    """The place that identifies a finding within a route, whatever the values there are."""

    route: str
    place: str
    discriminator: str = ""

    def is_of(self, signature: Signature) -> bool:
        """Return whether a signature is at this place; a `*` on either side stands for any one name."""
        if (self.route, self.discriminator) != (signature.route, signature.discriminator):
            return False
        own, other = self.place.split("."), signature.place.split(".")
        pairs = zip(own, other, strict=False)
        return len(own) == len(other) and all(a == b or "*" in (a, b) for a, b in pairs)


class FindingVerifier:
    """Judges new runs of the cases of one finding.

    Args:
        settings: the section `compare`.
        finding: the place of the finding.
    """

    def __init__(self, settings: CompareSettings, finding: FindingPlace) -> None:
        self._finding = finding
        self._comparator = Comparator(settings)
        self._control = Comparator(timeless(settings))
        self._clusterer = Clusterer(settings.dynamic, tables=settings.tables)

    def unsuitable(self, recorded: OpenedCase, *, now: dt.datetime) -> str:
        """Return why a case cannot show whether the finding is fixed; "" where it can."""
        if recorded.exchange.request.body_truncated:
            return "only the beginning of its request was recorded"
        signatures = self._signatures(recorded.route, compare_case(self._comparator, recorded, now=now))
        if not any(map(self._finding.is_of, signatures)):
            return "under the present rules it does not show the finding"
        return ""

    def judge(
        self, recorded: OpenedCase, repeated: OpenedCase, *, now: dt.datetime
    ) -> tuple[VerificationOutcome, str, tuple[str, ...]]:
        """Return the outcome of a case, its reason, and the other differences that are still there.

        Args:
            recorded: the case; `unsuitable` has returned "" for it.
            repeated: the new runs of both sides, redacted as the case is.
            now: aware time, by which rules expire.
        """
        before = compare_case(self._comparator, recorded, now=now)
        after = compare_case(self._comparator, repeated, now=now)
        if after.verdict is Verdict.FAILED:
            return VerificationOutcome.UNDECIDED, f"a side gave no response: {after.cause_label}", ()
        known = self._signatures(recorded.route, before)
        found = self._signatures(recorded.route, after)
        remaining = _texts(s for s in found if s in known and not self._finding.is_of(s))
        if still := [signature for signature in found if self._finding.is_of(signature)]:
            return VerificationOutcome.NOT_FIXED, _few(_texts(still)), remaining
        if before.effects_compared and not after.effects_compared:
            return VerificationOutcome.UNDECIDED, f"rows were not compared: {after.effects_note}", remaining
        if changed := self._legacy_changes(recorded, repeated, now=now):
            reason = f"the legacy does not do what it did when the case was recorded: {_few(changed)}"
            return VerificationOutcome.UNDECIDED, reason, remaining
        places = {signature.place for signature in known}
        if new := [s for s in found if s not in known and s.place not in places]:
            return VerificationOutcome.SOMETHING_ELSE_BROKE, _few(_texts(new)), remaining
        return VerificationOutcome.FIXED, "", remaining

    def _signatures(self, route: str, comparison: Comparison) -> list[Signature]:
        return [occurrence.signature for occurrence in self._clusterer.occurrences(route, comparison)]

    def _legacy_changes(self, recorded: OpenedCase, repeated: OpenedCase, *, now: dt.datetime) -> Sequence[str]:
        then, again = _legacy_of(recorded), _legacy_of(repeated)
        request, key = recorded.exchange.request, recorded.exchange.key
        compared = self._control.compare(recorded.route, then, again, now=now, request=request, key=key)
        if compared.verdict is Verdict.FAILED:
            return [compared.cause_label]
        known = (one.difference for one in compared.known)
        return list(dict.fromkeys(_place(difference) for difference in (*compared.differences, *known)))


def timeless(settings: CompareSettings) -> CompareSettings:
    """Return the settings with every tolerance of times widened to any value: two runs are days apart."""
    routes = {
        name: msgspec.structs.replace(route, rules=_timeless_rules(route.rules))
        for name, route in settings.routes.items()
    }
    tables = {name: _timeless_table(table) for name, table in settings.tables.items()}
    return msgspec.structs.replace(settings, rules=_timeless_rules(settings.rules), routes=routes, tables=tables)


def _timeless_rules(rules: tuple[RuleSettings, ...]) -> tuple[RuleSettings, ...]:
    return tuple(
        RuleSettings(rule.path, ignore=True, owner=rule.owner, reason=rule.reason, expires=rule.expires)
        if rule.time_within_ms is not None
        else rule
        for rule in rules
    )


def _timeless_table(table: Table) -> Table:
    any_value = Volatile(ignore=True)
    volatile = {column: any_value if one.within_ms is not None else one for column, one in table.volatile.items()}
    return msgspec.structs.replace(
        table, volatile=volatile, json={column: _timeless_json(one) for column, one in table.json.items()}
    )


def _timeless_json(column: JsonColumn) -> JsonColumn:
    return msgspec.structs.replace(column, ignore=(*column.ignore, *column.within_ms), within_ms={}, epoch={})


def overall(cases: Iterable[CaseVerification]) -> VerificationOutcome:
    """Return the outcome of all cases: fixed only if one is and no case says otherwise.

    A case that is undecided takes nothing from the others; where all are, so is the whole.
    """
    outcomes = {case.outcome for case in cases}
    for outcome in (
        VerificationOutcome.NOT_FIXED,
        VerificationOutcome.SOMETHING_ELSE_BROKE,
        VerificationOutcome.FIXED,
    ):
        if outcome in outcomes:
            return outcome
    return VerificationOutcome.UNDECIDED


def _legacy_of(case: OpenedCase) -> Observation:
    return case.served if case.served.side is Side.LEGACY else case.mirrored


def _place(difference: Difference) -> str:
    return difference.place


def _texts(signatures: Iterable[Signature]) -> tuple[str, ...]:
    tokens = (token_of(signature) for signature in signatures)
    return tuple(dict.fromkeys(f"{token.where}: {token.what}" for token in tokens))


def _few(texts: Sequence[str]) -> str:
    more = len(texts) - PLACES_MAX
    return "; ".join(texts[:PLACES_MAX]) + (f"; and {more} more" if more > 0 else "")
