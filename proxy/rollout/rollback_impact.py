"""The impact of a rollback: whether the legacy can serve all clients, and which data could lose its meaning. Pure.

Both sides write the same live database, so a rollback deletes nothing that the candidate wrote. Meaning can be lost: rows that the
candidate wrote differently than the legacy would have. Those are the differences of committed rows found while the candidate served,
and the declared known differences in tables.
"""

from typing import Final

import msgspec

from comparator.stats.confidence import rate_interval

LAG_MAX_S: Final = 60.0


class LegacyHealth(msgspec.Struct, frozen=True):
    """The result of the legacy's health check. `detail` is the status and the duration, or the error."""

    url: str
    healthy: bool
    detail: str


class LegacyMirror(msgspec.Struct, frozen=True):
    """The legacy as the mirrored side, over the last hour.

    Attributes:
        requests: requests mirrored to it.
        errors: of those, the ones with a status of 500 or more, or without a response.
        compared: of those, the ones that were compared.
        matched: of those compared, the ones that did not differ.
    """

    requests: int
    errors: int
    compared: int
    matched: int


class RowCause(msgspec.Struct, frozen=True):
    """A cause of differences of committed rows that is not fixed; `exchanges` of the last 7 days have it."""

    id: str
    title: str
    exchanges: int


class KnownTableDifference(msgspec.Struct, frozen=True):
    """A declared known difference in a table, with the number of its occurrences."""

    table: str
    reason: str
    ticket: str
    count: int


class RollbackImpact(msgspec.Struct, frozen=True, kw_only=True):
    """The document of GET /rollout/rollback-impact. Parts that could not be determined are None, and `undetermined` says why.

    Attributes:
        at: the time, in ISO 8601.
        candidate_rows: rows that the candidate wrote in the last 7 days.
        differing_requests: requests of the last 7 days in which the candidate wrote other rows than the legacy.
        lag_s: how far the mirror is behind.
    """

    at: str
    legacy_health: LegacyHealth | None = None
    legacy_mirror: LegacyMirror | None = None
    candidate_rows: int | None = None
    differing_requests: int | None = None
    causes: tuple[RowCause, ...] = ()
    known_differences: tuple[KnownTableDifference, ...] = ()
    lag_s: float | None = None
    undetermined: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    ready: bool = False


def with_warnings(impact: RollbackImpact) -> RollbackImpact:
    """Complete the document with everything that speaks against a rollback; it is ready when nothing does."""
    warnings = tuple(_warnings(impact))
    return msgspec.structs.replace(impact, warnings=warnings, ready=not warnings)


def _warnings(impact: RollbackImpact) -> list[str]:
    warnings: list[str] = []
    health = impact.legacy_health
    if health is None or not health.healthy:
        warnings.append(f"the legacy is not known to be healthy: {health.detail if health else 'not checked'}")
    if impact.differing_requests:
        warnings.append(
            f"{impact.differing_requests} requests in which the candidate wrote other rows than the legacy would have"
        )
    warnings += [f"cause {cause.id} in {cause.exchanges} exchanges: {cause.title}" for cause in impact.causes]
    warnings += [
        f"known difference in {known.table}: {known.reason}{f' [{known.ticket}]' if known.ticket else ''} ({known.count} times)"
        for known in impact.known_differences
    ]
    if impact.lag_s is not None and impact.lag_s > LAG_MAX_S:
        warnings.append(f"the mirror is {impact.lag_s:.0f} s behind: the newest requests are not compared yet")
    warnings += [f"not known: {reason}" for reason in impact.undetermined]
    return warnings


def render(impact: RollbackImpact) -> str:
    """Return the document as text, one line a fact; warnings begin with `!`."""
    health, mirror = impact.legacy_health, impact.legacy_mirror
    lines = [f"legacy: {_health_text(health)}"]
    if mirror is not None:
        rate = rate_interval(mirror.matched, mirror.compared)
        lines.append(
            f"legacy as mirror, last hour: {mirror.matched} of {mirror.compared} matched ({rate.low:.3%} to {rate.high:.3%}), "
            f"{mirror.errors} errors in {mirror.requests} requests"
        )
    if impact.candidate_rows is not None:
        lines.append(f"rows the candidate wrote in 7 days: {impact.candidate_rows}")
    if impact.lag_s is not None:
        lines.append(f"mirror lag: {impact.lag_s:.1f} s")
    lines += [f"! {warning}" for warning in impact.warnings]
    lines.append(
        "nothing would be lost"
        if impact.ready
        else "roll back anyway if clients are affected: the legacy serves at once"
    )
    return "\n".join(lines)


def _health_text(health: LegacyHealth | None) -> str:
    if health is None:
        return "not checked"
    return f"{'healthy' if health.healthy else 'NOT HEALTHY'} ({health.detail}, {health.url})"
