"""Whether a backend is fit to be asked, from how it answered and from checks. Pure: counts and the time are arguments.

Two things are kept apart. A check asks a path every few seconds and may be wrong (the path is broken, the service is not). What clients'
requests met is never wrong. So a failed check alone only prefers the other side where that may answer; only failed requests eject.

An ejection ends by a probe: after its time, one request in `ejection_base_s` is let through. If it is answered the backend is back; if it
fails, it is ejected for twice as long, up to `ejection_max_s`. A backend that nobody asks is let alone after another `ejection_max_s`. Source: the
circuit breaker's half-open state, Envoy's outlier detection.
"""

from collections import deque
from math import ceil

from proxy.config.backends import HealthCheckSettings, OutlierDetection


class OutlierDetector:
    """One backend's health. Times are seconds of any one clock."""

    def __init__(self, check: HealthCheckSettings, ejection: OutlierDetection) -> None:
        self.unhealthy = False
        """By checks."""
        self.ejections = 0
        self._check = check
        self._ejection = ejection
        self._agreeing = 0
        """Checks in a row that speak against what is believed."""
        self._until: float | None = None
        self._next_probe = 0.0
        self._times = 0
        """How often in a row it was ejected: doubles the time."""
        self._restored_at = float("-inf")
        self._run = 0
        self._answered = 0
        self._failed = 0
        self._past: deque[tuple[float, int, int]] = deque()
        """Time, answered and failed before each change within the window."""

    def begin(self, answered: int, failed: int) -> None:
        """Counts that were there before it was watched."""
        self._answered, self._failed = answered, failed

    @property
    def available(self) -> bool:
        """Whether there is no reason to ask another."""
        return self._until is None and not self.unhealthy

    @property
    def ejected(self) -> bool:
        """Whether failed requests speak against it."""
        return self._until is not None

    def retry_after_s(self, now: float) -> int:
        """Whole seconds until asking again makes sense; at least 1."""
        return max(1, ceil((self._until or now) - now))

    def checked(self, *, well: bool) -> None:
        """A check has ended."""
        if well is not self.unhealthy:
            self._agreeing = 0
            return
        self._agreeing += 1
        if self._agreeing >= (self._check.healthy_after if well else self._check.unhealthy_after):
            self.unhealthy = not well
            self._agreeing = 0

    def may_probe(self, now: float) -> bool:
        """Whether this request may find out if an ejected backend answers again. True once in `ejection_base_s`."""
        if self._until is None or now < max(self._until, self._next_probe):
            return False
        self._next_probe = now + self._ejection.ejection_base_s
        return True

    def tally(self, now: float, *, answered: int, failed: int) -> None:
        """Take the counts since the process began, and judge."""
        new_answered, new_failed = answered - self._answered, failed - self._failed
        if new_answered or new_failed:
            self._past.append((now, self._answered, self._failed))
        self._answered, self._failed = answered, failed
        if self._until is None:
            self._run = 0 if new_answered else self._run + new_failed
            if new_failed and (self._fails_in_a_row or self._fails_often(now)):
                self._eject(now)
        elif now >= self._until:
            self._judge_probe(now, max(self._until, self._next_probe), answered=new_answered, failed=new_failed)

    @property
    def _fails_in_a_row(self) -> bool:
        return 0 < self._ejection.consecutive_failures <= self._run

    def _fails_often(self, now: float) -> bool:
        while self._past and now - self._past[0][0] > self._ejection.window_s:
            self._past.popleft()
        if not self._past:
            return False
        _, answered, failed = self._past[0]
        failures = self._failed - failed
        requests = failures + self._answered - answered
        return requests >= self._ejection.requests_min and failures >= self._ejection.failure_share * requests

    def _judge_probe(self, now: float, since: float, *, answered: int, failed: int) -> None:
        """Back by an answer, or because nobody has asked for so long that what was found out is of no use any more."""
        if failed:
            self._eject(now)
        elif answered or now - since >= self._ejection.ejection_max_s:
            self._until = None
            self._restored_at = now
            self._forget()

    def _eject(self, now: float) -> None:
        if self._until is None and now - self._restored_at > self._ejection.ejection_max_s:
            self._times = 0
        # (the exponent is bounded: a float of any size would do, an overflow would not)
        lasting = min(self._ejection.ejection_base_s * 2.0 ** min(self._times, 60), self._ejection.ejection_max_s)
        self._times += 1
        self.ejections += 1
        self._until = now + lasting
        self._forget()

    def _forget(self) -> None:
        """What was before an ejection or its end is not held against the backend twice."""
        self._run = 0
        self._past.clear()
