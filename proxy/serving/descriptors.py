"""Divide the file descriptors of a process among clients, backends, the control port and everything else.

A process that has used up its descriptors cannot even refuse a connection: clients wait, the control port is reset, the journal cannot
open its next segment. So the limit is raised to what the system allows, and it is computed beforehand how many clients fit. A request in
flight needs a descriptor for its client and one for its backend, up to the size of the backends' pools:

    1,024 descriptors  128 admin port + 64 refusals + 96 others, 736 left  ->  368 clients, with 368 connections to backends
    20,000             256 admin port + 64 refusals + 96 others, 19,584    ->  19,072 clients, with 512 connections to backends
"""

import resource
from dataclasses import dataclass
from typing import Final

from comparator.exchanges.model import Role, Side
from proxy.config.settings import Settings

OTHERS: Final = 96
"""The journal, logs, state files, the event loop, connections to databases, peers and metrics pages."""
REFUSALS: Final = 64
"""Connections that are accepted only to be refused."""
ADMIN_MAX: Final = 256
ADMIN_SHARE: Final = 8
"""The control port has at most one in so many of all descriptors."""
CLIENTS_MIN: Final = 1


@dataclass(frozen=True, slots=True)
class DescriptorBudget:
    """The descriptors of one process.

    Attributes:
        limit: of the process.
        admin: connections to the control port.
        backends: connections to backends, if all clients that fit have a request in flight.
        fitting: clients' connections that fit.
        wanted: `limits.connections_max`.
    """

    limit: int
    admin: int
    backends: int
    fitting: int
    wanted: int

    @property
    def clients(self) -> int:
        """The clients' connections that are admitted."""
        return min(self.fitting, self.wanted)

    @property
    def needed(self) -> int:
        """The limit with which `wanted` would fit."""
        return self.limit + (self.wanted - self.fitting) * 2 if self.fitting < self.wanted else self.limit

    def describe(self) -> str:
        """Return what fits, in words."""
        reserved = f"{self.admin} for the control port, {self.backends} for backends, {REFUSALS + OTHERS} for the rest"
        if self.fitting >= self.wanted:
            return f"{self.wanted} client connections fit into {self.limit} file descriptors ({reserved})"
        return (
            f"only {self.fitting} of limits.connections_max = {self.wanted} client connections fit into {self.limit} file descriptors "
            f"({reserved}): raise the hard limit of the process to {self.needed} (LimitNOFILE=, ulimit -Hn), or lower connections_max"
        )


def budget_of(settings: Settings, limit: int) -> DescriptorBudget:
    """Divide the descriptors of a process.

    Args:
        settings: of config.yaml.
        limit: descriptors that the process may have.
    """
    pools = sum(settings.backends.of(side, Role.SERVED).connections_max for side in Side)
    admin = min(ADMIN_MAX, limit // ADMIN_SHARE)
    left = limit - admin - REFUSALS - OTHERS
    fitting = max(CLIENTS_MIN, left // 2 if left // 2 <= pools else left - pools)
    return DescriptorBudget(limit, admin, min(pools, fitting), fitting, settings.limits.connections_max)


def raise_limit() -> int:
    """Raise the limit of the process to what the system allows, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        return soft
    return hard


def present_limit() -> int:
    """Return the limit of the process as it is."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
