"""Detect a backend that fails, by its responses to clients' requests and by health checks. Pure: counts and the time are arguments.

The two kinds of evidence are kept apart. A health check can be wrong (its path is broken, the service is not), a failed request cannot.
So failed checks make a backend unhealthy, which only prefers the other side where that may answer; failed requests eject it.

An ejection ends with a probe. After `ejection_base_s` one request is let through. If it is answered, the backend is restored. If it
fails, the backend is ejected for twice as long, up to `ejection_max_s`:

    t=0  ejected for 1 s    t=1  probe fails    t=1  ejected for 2 s    t=3  probe is answered    t=3  restored

A backend that gets no requests is restored `ejection_max_s` after that. Source: the half-open state of a circuit breaker; Envoy's
outlier detection.
"""

from collections import deque
from math import ceil

from proxy.config.backends import HealthCheckSettings, OutlierDetection


class OutlierDetector:
    """The health of one backend. Times are seconds of any one clock; counts are totals since the process started.

    Args:
        check: how many health checks in a row change the verdict.
        detection: which failures eject, and for how long.

    Attributes:
        unhealthy: whether health checks have failed.
        ejections: how often the backend was ejected.
    """

    def __init__(self, check: HealthCheckSettings, detection: OutlierDetection) -> None:
        self.unhealthy = False
        self.ejections = 0
        self._check = check
        self._detection = detection
        self._contrary_checks = 0
        """Checks in a row whose result contradicts `unhealthy`."""
        self._ejected_until: float | None = None
        self._next_probe = 0.0
        self._ejections_in_a_row = 0
        """Each doubles the length of the next."""
        self._restored_at = float("-inf")
        self._failures_in_a_row = 0
        self._answered = 0
        self._failed = 0
        self._history: deque[tuple[float, int, int]] = deque()
        """Time, answered and failed before each change within the window."""

    def start_from(self, answered: int, failed: int) -> None:
        """Ignore what was counted before this detector was made."""
        self._answered, self._failed = answered, failed

    @property
    def available(self) -> bool:
        """True if the backend is neither unhealthy nor ejected."""
        return self._ejected_until is None and not self.unhealthy

    @property
    def ejected(self) -> bool:
        """True if failed requests have ejected the backend."""
        return self._ejected_until is not None

    def retry_after_s(self, now: float) -> int:
        """Return the whole seconds until the ejection ends; at least 1."""
        return max(1, ceil((self._ejected_until or now) - now))

    def record_check(self, *, passed: bool) -> None:
        """Take the result of a health check into account."""
        if passed is not self.unhealthy:
            self._contrary_checks = 0
            return
        self._contrary_checks += 1
        if self._contrary_checks >= (self._check.healthy_after if passed else self._check.unhealthy_after):
            self.unhealthy = not passed
            self._contrary_checks = 0

    def may_probe(self, now: float) -> bool:
        """Return whether a request may probe the ejected backend now. True once in `ejection_base_s`."""
        if self._ejected_until is None or now < max(self._ejected_until, self._next_probe):
            return False
        self._next_probe = now + self._detection.ejection_base_s
        return True

    def evaluate(self, now: float, *, answered: int, failed: int) -> None:
        """Eject or restore the backend by what was counted since the last call.

        Args:
            now: seconds.
            answered: requests that the backend has answered so far.
            failed: requests that it has failed so far.
        """
        new_answered, new_failed = answered - self._answered, failed - self._failed
        if new_answered or new_failed:
            self._history.append((now, self._answered, self._failed))
        self._answered, self._failed = answered, failed
        if self._ejected_until is None:
            self._failures_in_a_row = 0 if new_answered else self._failures_in_a_row + new_failed
            if new_failed and (self._fails_in_a_row or self._fails_often(now)):
                self._eject(now)
        elif now >= self._ejected_until:
            since = max(self._ejected_until, self._next_probe)
            self._judge_probe(now, since, answered=new_answered, failed=new_failed)

    @property
    def _fails_in_a_row(self) -> bool:
        return 0 < self._detection.consecutive_failures <= self._failures_in_a_row

    def _fails_often(self, now: float) -> bool:
        while self._history and now - self._history[0][0] > self._detection.window_s:
            self._history.popleft()
        if not self._history:
            return False
        _, answered, failed = self._history[0]
        failures = self._failed - failed
        requests = failures + self._answered - answered
        return requests >= self._detection.requests_min and failures >= self._detection.failure_share * requests

    def _judge_probe(self, now: float, since: float, *, answered: int, failed: int) -> None:
        """Restore the backend after a response, or when it has had no request for so long that the ejection means nothing any more."""
        if failed:
            self._eject(now)
        elif answered or now - since >= self._detection.ejection_max_s:
            self._ejected_until = None
            self._restored_at = now
            self._clear_history()

    def _eject(self, now: float) -> None:
        detection = self._detection
        if self._ejected_until is None and now - self._restored_at > detection.ejection_max_s:
            self._ejections_in_a_row = 0
        # (the exponent is bounded: 2.0 ** 1024 would overflow)
        duration_s = min(detection.ejection_base_s * 2.0 ** min(self._ejections_in_a_row, 60), detection.ejection_max_s)
        self._ejections_in_a_row += 1
        self.ejections += 1
        self._ejected_until = now + duration_s
        self._clear_history()

    def _clear_history(self) -> None:
        """Forget the requests before an ejection or its end, so that they do not count twice."""
        self._failures_in_a_row = 0
        self._history.clear()
