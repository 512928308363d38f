"""Read the release of each side from its responses' header, or take the configured one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from comparator.exchanges.model import Observation, Response, Side
from comparator.exchanges.release import ReleasePair, version_text
from proxy.config.backends import BackendsSettings, SideInstances

RELEASES_MAX: Final = 100
"""Different pairs of releases that one process keeps apart: a header that is new in each response names no release."""
TOO_MANY: Final = ReleasePair("other", "other")


@dataclass(slots=True)
class ReleaseReader:
    """Reads releases.

    Attributes:
        instances: both sides' configuration.
    """

    instances: Mapping[Side, SideInstances]
    _seen: set[ReleasePair] = field(default_factory=set[ReleasePair])

    @classmethod
    def of(cls, backends: BackendsSettings) -> "ReleaseReader":
        """Pick both sides from config.yaml."""
        return cls({Side.CANDIDATE: backends.candidate, Side.LEGACY: backends.legacy})

    def read(self, served: Observation, mirrored: Observation) -> ReleasePair:
        """Return the releases of both sides in one exchange."""
        by_side = {observation.side: self._version(observation) for observation in (served, mirrored)}
        pair = ReleasePair(by_side.get(Side.CANDIDATE, ""), by_side.get(Side.LEGACY, ""))
        if pair not in self._seen:
            if len(self._seen) >= RELEASES_MAX:
                return TOO_MANY
            self._seen.add(pair)
        return pair

    def _version(self, observation: Observation) -> str:
        side = self.instances[observation.side]
        header, outcome = side.version_header.lower(), observation.outcome
        if header and isinstance(outcome, Response):
            reported = next((value for name, value in outcome.headers if name.lower() == header), "")
            if reported:
                return version_text(reported)
        return version_text(side.version)
