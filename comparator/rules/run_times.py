"""Decide how far apart two times may lie that both sides made while they worked on one request. Pure.

Each side reads its own clock at some moment of its run, so two such times are as far apart as those moments:

    served     receipt ------------------- commit
    mirrored                                         receipt -- commit
                                                <---->                    the least, if the served side read its clock last thing
               <------------------------------------------------->        the most, if it read its clock first thing

A time that is derived from the clock, such as an expiry in an hour, moves with it, so the same holds for it.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from comparator.exchanges.model import Observation

NS_PER_US: Final = 1_000

Microseconds = int | Decimal


@dataclass(frozen=True, slots=True)
class Run:
    """The period in which one side worked on a request: from its receipt until its response and its commits, in Unix microseconds."""

    began_us: int
    ended_us: int

    def contains(self, at_us: Microseconds, within_us: int) -> bool:
        """Return whether a time lies in the period, or at most `within_us` beside it."""
        return self.began_us - within_us <= at_us <= self.ended_us + within_us


@dataclass(frozen=True, slots=True)
class RunTimes:
    """The runs of both sides, each by the clocks of its own machines."""

    served: Run
    mirrored: Run

    @property
    def lag_us(self) -> int:
        """Time by which the mirrored side began later."""
        return self.mirrored.began_us - self.served.began_us

    def apart_us(self, served_us: Microseconds, mirrored_us: Microseconds) -> Microseconds:
        """Return by how much the distance of two times exceeds that of some two moments of the runs; 0 if it does not."""
        later = mirrored_us - served_us
        earliest = self.mirrored.began_us - self.served.ended_us
        latest = self.mirrored.ended_us - self.served.began_us
        return max(earliest - later, later - latest, 0)

    def allow(self, served_us: Microseconds, mirrored_us: Microseconds, within_us: int) -> bool:
        """Return whether two times agree: the runs explain how far they are apart, except for `within_us`.

        A long run explains a long distance, but not every time: where one side wrote a time of its own run, a time before the other
        side's run is an older one. Served in 10 s, mirrored in 10 ms, within 1 s:

            served 8 s after the receipt, mirrored at its receipt            allowed: both wrote the current time
            served 8 s after the receipt, mirrored 5 s before its receipt    refused: the current time against an old one
            both with 30 days more                                           allowed: as far apart as the first two
        """
        if self.apart_us(served_us, mirrored_us) > within_us:
            return False
        if abs(mirrored_us - served_us - self.lag_us) <= within_us:
            return True
        if self.served.contains(served_us, within_us):
            return mirrored_us >= self.mirrored.began_us - within_us
        return not self.mirrored.contains(mirrored_us, within_us) or served_us >= self.served.began_us - within_us


def response_times(served: Observation, mirrored: Observation) -> RunTimes | None:
    """Return the runs until the responses, for times in responses; None if it is unknown when a side began."""
    if not served.started_ns or not mirrored.started_ns:
        return None
    return RunTimes(_run(served), _run(mirrored))


def row_times(served: Observation, mirrored: Observation) -> RunTimes | None:
    """Return the runs until the last commits, which may follow the responses, for times in rows; None as for `response_times`."""
    if not served.started_ns or not mirrored.started_ns:
        return None
    return RunTimes(_run(served, commits=True), _run(mirrored, commits=True))


def _run(observation: Observation, *, commits: bool = False) -> Run:
    began = observation.started_ns // NS_PER_US
    ended = -(-(observation.started_ns + observation.duration_ns) // NS_PER_US)
    transactions = observation.effects.transactions if commits else ()
    return Run(began, max(ended, transactions[-1].committed_us) if transactions else ended)
