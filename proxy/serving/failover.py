"""Fail over to the other side while one is unhealthy or ejected.

Both sides are evaluated a few times a second, from counts that exist anyway, so a request pays for nothing while both are available.

A request goes to the side that the rollout chose, unless that side is unavailable, the request is safe, `serve.fall_back` allows the
other side, and the other side is available. Where the other side may not answer, an unavailable side still gets the request, because
nothing else could serve it. Only `outlier_detection.refuse` refuses such requests, and only after failed requests, not failed checks.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from comparator.exchanges.model import Role, Side
from proxy.config.backends import BackendSettings, BackendsSettings
from proxy.health_probe import probe_backend
from proxy.serving.event_wait import wait_for_event
from proxy.serving.metrics import ProxyMetrics
from proxy.serving.outlier_detection import OutlierDetector

logger = logging.getLogger(__name__)


class Failover:
    """The health of both sides' live instances, and the choice by it. Lives on the event loop. `apply` comes first.

    Attributes:
        degraded: whether a side is unavailable, so that every request has to call `side_for`.
        enabled: whether the other side may answer safe requests (`serve.fall_back`).
    """

    def __init__(self, metrics: ProxyMetrics) -> None:
        self.degraded = False
        self.enabled = False
        self._metrics = metrics
        self._backends: dict[Side, BackendSettings] = {}
        self._detectors: dict[Side, OutlierDetector] = {}

    def apply(self, backends: BackendsSettings, *, enabled: bool) -> None:
        """Put settings in force. A backend whose settings changed starts as available."""
        self.enabled = enabled
        for side in Side:
            backend = backends.of(side, Role.SERVED)
            if self._backends.get(side) != backend:
                self._backends[side] = backend
                self._detectors[side] = OutlierDetector(backend.health_check, backend.outlier_detection)
                self._detectors[side].start_from(*self._metrics.response_counts(side))
        self._update()

    def evaluate(self, now: float) -> None:
        """Evaluate both sides by what was counted since the last call."""
        for side, detector in self._detectors.items():
            was_ejected, ejections = detector.ejected, detector.ejections
            answered, failed = self._metrics.response_counts(side)
            detector.evaluate(now, answered=answered, failed=failed)
            if detector.ejections > ejections:
                self._metrics.ejections[side] += 1
                logger.warning("backend_ejected", extra={"side": side, "for_s": detector.retry_after_s(now)})
            elif was_ejected and not detector.ejected:
                logger.warning("backend_restored", extra={"side": side})
        self._update()

    async def watch(self, side: Side, stopped: asyncio.Event) -> None:
        """Check the health of a side every `interval_s` until `stopped`. The outermost loop of its task."""
        while not stopped.is_set():
            backend = self._backends[side]
            if backend.health_check.path and backend.url:
                passed = await self._probe(backend)
                if self._backends[side] == backend:  # (a reload may have replaced it meanwhile)
                    self.record_check(side, passed=passed)
            await wait_for_event(stopped, backend.health_check.interval_s)

    async def _probe(self, backend: BackendSettings) -> bool:
        try:
            result = await probe_backend(backend, backend.health_check.path, timeout_s=backend.health_check.timeout_s)
        except Exception:  # (a check that breaks must not stop the proxy)
            logger.exception("backend_check_failed")
            return False
        return result.healthy

    def record_check(self, side: Side, *, passed: bool) -> None:
        """Take the result of a side's health check into account."""
        self._metrics.checks[side, passed] += 1
        detector = self._detectors[side]
        was_unhealthy = detector.unhealthy
        detector.record_check(passed=passed)
        if detector.unhealthy is not was_unhealthy:
            event = "backend_unhealthy" if detector.unhealthy else "backend_healthy"
            logger.warning(event, extra={"side": side, "path": self._backends[side].health_check.path})
        self._update()

    def side_for(self, side: Side, now: float, *, safe: bool) -> Side | None:
        """Return the side that gets a request for which `side` was chosen; None refuses the request."""
        detector = self._detectors[side]
        if detector.available or detector.may_probe(now):
            return side
        if safe and self.enabled and self._backends[side.other].url and self._detectors[side.other].available:
            return side.other
        return None if detector.ejected and self._backends[side].outlier_detection.refuse else side

    def retry_after_s(self, side: Side, now: float) -> int:
        """Return the Retry-After of a refused request, in seconds."""
        return self._detectors[side].retry_after_s(now)

    def health(self) -> Mapping[Side, tuple[bool, bool]]:
        """Return of each side whether it is healthy by checks, and whether it is ejected."""
        return {side: (not detector.unhealthy, detector.ejected) for side, detector in self._detectors.items()}

    def status(self) -> dict[str, Any]:
        """Return the part `backends` of /status. `healthy` is None where nothing is checked."""
        return {
            side.value: {
                "healthy": not detector.unhealthy if self._backends[side].health_check.path else None,
                "checked": self._backends[side].health_check.path,
                "ejected": detector.ejected,
                "ejections": self._metrics.ejections[side],
            }
            for side, detector in self._detectors.items()
        }

    def _update(self) -> None:
        self.degraded = not all(detector.available for detector in self._detectors.values())
