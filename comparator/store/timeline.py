"""Define when each step of a compared exchange happened, in the form that is stored. Pure.

All times are microseconds after the proxy received the request. Three clocks are involved: the proxy's, the runner's and those of the
databases (commits). Where they disagree, a commit may seem to lie before its request or behind its response.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from comparator.errors import CaseError
from comparator.exchanges.model import Exchange, Observation
from comparator.exchanges.row_changes import Transaction

COMMITS_MAX: Final = 8
"""Commits of one side whose times are stored; of further ones only the number and the last time."""
NAMES_MAX: Final = 200
"""Longest name of a writer that is stored, in characters."""


class MirrorSteps(msgspec.Struct, frozen=True, array_like=True):
    """One run of the mirrored side: the request was sent, its response was complete, its commits were known, it was compared."""

    sent_us: int
    answered_us: int
    collected_us: int
    compared_us: int

    def after(self, start_us: int) -> "MirrorSteps":
        """Return the steps as microseconds after `start_us`."""
        return MirrorSteps(
            self.sent_us - start_us,
            self.answered_us - start_us,
            self.collected_us - start_us,
            self.compared_us - start_us,
        )


class MirrorTimes(msgspec.Struct, frozen=True):
    """The steps of mirroring one exchange, in Unix microseconds of the runner's clock.

    Attributes:
        delivered_us: everything that the served side had committed was known (the live fence).
        first: the run that is compared.
        second: the run that confirms a mismatch, None for none.
        aligned_us: the shadow held live's rows again.
    """

    delivered_us: int
    first: MirrorSteps
    second: MirrorSteps | None
    aligned_us: int


class CommitSpan(msgspec.Struct, frozen=True, array_like=True):
    """The commits of one side.

    Attributes:
        at_us: times of the first COMMITS_MAX commits.
        last_us: time of the last one.
        first_xid: transaction id of the first one.
        last_xid: transaction id of the last one.
        transactions: number of transactions.
        changes: number of row changes.
        named: every transaction names the request, so that its rows are attributed by name and not by key and time.
    """

    at_us: tuple[int, ...]
    last_us: int
    first_xid: int
    last_xid: int
    transactions: int
    changes: int
    named: bool


class Timeline(msgspec.Struct, frozen=True, array_like=True):
    """The steps of one exchange, in microseconds after it was received.

    Attributes:
        writer: name of the journal's writer, i.e. of the proxy that served it; "" if it was in no journal.
        trace_id: W3C trace id; "" if it is the id of the exchange, or unknown.
        first_byte_us: the head of the response arrived; 0 if that is unknown.
        delivered_us: everything that the served side had committed was known.
        first: the run of the mirrored side that is compared.
        second: the run that confirms a mismatch, None for none.
        aligned_us: the shadow held live's rows again.
        served: commits of the served side, None for none.
        mirrored: commits of the mirrored side's first run, None for none.
    """

    writer: str
    trace_id: str
    first_byte_us: int
    delivered_us: int
    first: MirrorSteps
    second: MirrorSteps | None
    aligned_us: int
    served: CommitSpan | None = None
    mirrored: CommitSpan | None = None


def timeline_of(
    exchange: Exchange,
    times: MirrorTimes,
    served: Observation,
    mirrored: Observation,
    *,
    writer: str = "",
    trace_id: str = "",
) -> Timeline:
    """Return the timeline of a compared exchange.

    Args:
        exchange: the exchange.
        times: the runner's steps.
        served: observation of the serving side.
        mirrored: observation of the mirrored side's first run.
        writer: name of the journal's writer, "" for none.
        trace_id: W3C trace id that the request was sent with, "" for none.
    """
    start_us = exchange.started_ns // 1_000
    return Timeline(
        writer[:NAMES_MAX],
        "" if trace_id == exchange.id else trace_id,
        exchange.first_byte_us,
        times.delivered_us - start_us,
        times.first.after(start_us),
        times.second.after(start_us) if times.second is not None else None,
        times.aligned_us - start_us,
        _span_of(served.effects.transactions, start_us),
        _span_of(mirrored.effects.transactions, start_us),
    )


def _span_of(transactions: Sequence[Transaction], start_us: int) -> CommitSpan | None:
    if not transactions:
        return None
    first, last = transactions[0], transactions[-1]
    return CommitSpan(
        tuple([one.committed_us - start_us for one in transactions[:COMMITS_MAX]]),
        last.committed_us - start_us,
        first.xid,
        last.xid,
        len(transactions),
        sum([len(one.changes) for one in transactions]),
        all(one.messages and one.names for one in transactions),
    )


_encode: Final = msgspec.msgpack.Encoder().encode
_decoder: Final = msgspec.msgpack.Decoder(Timeline)


def packed_timeline(timeline: Timeline | None) -> bytes | None:
    """Encode a timeline for the store."""
    return None if timeline is None else _encode(timeline)


def unpacked_timeline(stored: bytes | None) -> Timeline | None:
    """Decode a stored timeline.

    Raises:
        CaseError: it is damaged.
    """
    if stored is None:
        return None
    try:
        return _decoder.decode(stored)
    except msgspec.DecodeError as error:
        raise CaseError(f"stored timeline of a comparison is damaged: {error}") from error
