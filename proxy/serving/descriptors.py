"""Divide the file descriptors of a process among clients, backends, the control port and everything else.

A process that has used up its descriptors cannot even refuse a connection: clients wait, the control port is reset, the journal cannot
open its next segment. So the limit is raised to what the system allows, and it is computed beforehand how many clients fit. A request in
flight needs a descriptor for its client and one for its backend, up to the size of the backends' pools:

    1,024 descriptors  128 admin port + 128 accepted at once + 64 refusals + 96 others, 608 left  ->  304 clients, 304 to backends
    20,000             256 admin port + 2,048                + 64          + 96, 17,536 left      ->  17,024 clients, 512 to backends

All connections that wait to be accepted are accepted in one turn of the event loop, before the first of them can be refused. So their
number, the backlog of the listener, is reserved too.
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
BACKLOG_MAX: Final = 2048
BACKLOG_SHARE: Final = 8
"""The backlog is at most one in so many of all descriptors."""
CLIENTS_MIN: Final = 1


@dataclass(frozen=True, slots=True)
class DescriptorBudget:
    """The descriptors of one process.

    Attributes:
        limit: of the process.
        admin: connections to the control port.
        backlog: connections that may wait to be accepted.
        backends: connections to backends, if all clients that fit have a request in flight.
        fitting: clients' connections that fit.
        wanted: `limits.connections_max`.
    """

    limit: int
    admin: int
    backlog: int
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
        missing = max(0, self.wanted - self.fitting)
        # (a client takes two, and of each further descriptor a quarter goes to the control port and the backlog)
        return self.limit + missing * 2 * 4 // 3 + BACKLOG_SHARE if missing else self.limit

    def describe(self) -> str:
        """Return what fits, in words."""
        rest = self.backlog + REFUSALS + OTHERS
        reserved = f"{self.admin} for the control port, {self.backends} for backends, {rest} for the rest"
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
    backlog = min(BACKLOG_MAX, limit // BACKLOG_SHARE)
    left = limit - admin - backlog - REFUSALS - OTHERS
    fitting = max(CLIENTS_MIN, left // 2 if left // 2 <= pools else left - pools)
    return DescriptorBudget(limit, admin, backlog, min(pools, fitting), fitting, settings.limits.connections_max)


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
