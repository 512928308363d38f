"""The section `backends` of a lab whose four instances run in this process."""

from collections.abc import Mapping

from comparator.exchanges.model import Side
from proxy.config.backends import BackendSettings, BackendsSettings, SideInstances


def backends_of(urls: Mapping[tuple[Side, str], str]) -> BackendsSettings:
    """Return the settings of four instances by their URLs, each under its side and `live` or `shadow`."""

    def instances(side: Side) -> SideInstances:
        live, shadow = (BackendSettings(url=urls[side, role]) for role in ("live", "shadow"))
        return SideInstances(live=live, shadow=shadow)

    return BackendsSettings(candidate=instances(Side.CANDIDATE), legacy=instances(Side.LEGACY))
