"""Which side is asked while one of them ails. Judged a few times a second from the counts that are kept anyway: off the serving path.

The side that the rollout chose is asked unless it is unfit, the request is safe, `serve.fall_back` allows the other side, and the
other side is fit. Where the other side may not answer, an unhealthy or ejected side is asked all the same: it is all there is. Only
`outlier_detection.refuse` refuses such requests, and only on the evidence of failed requests.
"""

import logging
from collections.abc import Mapping
from typing import Any

from comparator.exchanges.model import Role, Side
from proxy.config.backends import BackendSettings
from proxy.config.settings import Settings
from proxy.serving.metrics import ProxyMetrics
from proxy.serving.outlier_detection import OutlierDetector

logger = logging.getLogger(__name__)


class Failover:
    """Both sides' health. Lives on the event loop.

    Attributes:
        ailing: whether a side is unfit, so that a request has to ask `side_for`.
    """

    def __init__(self, metrics: ProxyMetrics) -> None:
        self.ailing = False
        self._metrics = metrics
        self._backends: dict[Side, BackendSettings] = {}
        self._health: dict[Side, OutlierDetector] = {}
        self._fall_back = False

    def apply(self, settings: Settings) -> None:
        """Take settings; a backend that is another one now, or is judged otherwise, begins as fit."""
        self._fall_back = settings.serve.fall_back
        for side in Side:
            backend = settings.backends.of(side, Role.SERVED)
            if self._backends.get(side) != backend:
                self._backends[side] = backend
                self._health[side] = OutlierDetector(backend.health_check, backend.outlier_detection)
                self._health[side].begin(*self._metrics.heard(side))
        self._look()

    def tally(self, now: float) -> None:
        """Judge both sides by what was counted since the last time."""
        for side, health in self._health.items():
            before = health.ejected, health.ejections
            answered, failed = self._metrics.heard(side)
            health.tally(now, answered=answered, failed=failed)
            if health.ejections > before[1]:
                self._metrics.ejections[side] += 1
                logger.warning("backend_ejected", extra={"side": side, "for_s": health.retry_after_s(now)})
            elif before[0] and not health.ejected:
                logger.warning("backend_restored", extra={"side": side})
        self._look()

    def checked(self, side: Side, *, well: bool) -> None:
        """A check of a side has ended."""
        self._metrics.checks[side, well] += 1
        health = self._health[side]
        before = health.unhealthy
        health.checked(well=well)
        if health.unhealthy is not before:
            event = "backend_unhealthy" if health.unhealthy else "backend_healthy"
            logger.warning(event, extra={"side": side, "path": self._backends[side].health_check.path})
        self._look()

    def side_for(self, side: Side, now: float, *, safe: bool) -> Side | None:
        """Who is asked where `side` was chosen; None: nobody, the request is refused at once."""
        health = self._health[side]
        if health.available or health.may_probe(now):
            return side
        if safe and self._fall_back and self._backends[side.other].url and self._health[side.other].available:
            return side.other
        return None if health.ejected and self._backends[side].outlier_detection.refuse else side

    def retry_after_s(self, side: Side, now: float) -> int:
        """What a refused client is told."""
        return self._health[side].retry_after_s(now)

    def available(self) -> Mapping[Side, tuple[bool, bool]]:
        """Whether each side is healthy by checks, and whether it is ejected."""
        return {side: (not health.unhealthy, health.ejected) for side, health in self._health.items()}

    def status(self) -> dict[str, Any]:
        """What /status shows."""
        return {
            side.value: {
                "healthy": not health.unhealthy if self._backends[side].health_check.path else None,
                "checked": self._backends[side].health_check.path,
                "ejected": health.ejected,
                "ejections": self._metrics.ejections[side],
            }
            for side, health in self._health.items()
        }

    def _look(self) -> None:
        self.ailing = not all(health.available for health in self._health.values())
