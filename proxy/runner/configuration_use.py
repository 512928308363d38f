"""Note what of the configuration is in use: which rules applied, which tables were written, and what waits for a restart. Pure.

It answers the questions that no single comparison can: a rule that has never applied may be misspelled, a table that no request has written
may be described in vain, and a changed field of config.yaml may not be in force.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from comparator.store.comparison_detail import ComparedExchange
from proxy.config.changes import changed_paths
from proxy.config.settings import Settings

RUNNER_SECTIONS: Final = ("backends", "capture", "databases", "journal", "routes", "runner", "store")
"""Sections that the runner reads at its start. `compare` is read again while it runs."""
_NOT_THE_RUNNERS: Final = ("backends.candidate.live", "backends.legacy.live")
NAMES_MAX: Final = 10_000
"""Rules and tables that are counted; both are those of the configuration and the database, so the limit is for accidents."""


class ConfigurationUse:
    """The use of one runner since its start.

    Args:
        settings: those that it was started with.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._comparisons = 0
        self._rules: Counter[str] = Counter()
        self._tables: Counter[str] = Counter()
        self._needs_restart: tuple[str, ...] = ()

    def add(self, compared: ComparedExchange) -> None:
        """Count a comparison: once for each rule that applied, and for each table that one of the sides wrote."""
        self._comparisons += 1
        comparison = compared.comparison
        hits = {hit.rule for hit in comparison.rule_hits if not hit.expired}
        _count(self._rules, hits | {known.declaration for known in comparison.known})
        _count(
            self._tables,
            {
                change.table
                for observation in (compared.served, compared.mirrored)
                for transaction in observation.effects.transactions
                for change in transaction.changes
            },
        )

    def changed(self, settings: Settings) -> None:
        """Note that the file has changed: its fields that this process has read at its start, and that are others now, need a restart."""
        self._needs_restart = tuple(
            path
            for path in changed_paths(self._settings, settings)
            if path.split(".")[0] in RUNNER_SECTIONS and not path.startswith(_NOT_THE_RUNNERS)
        )

    @property
    def needs_restart(self) -> Sequence[str]:
        """Paths of the fields that wait for a restart."""
        return self._needs_restart

    @property
    def status(self) -> Mapping[str, object]:
        """The document for /status."""
        return {"comparisons": self._comparisons, "rules": dict(self._rules), "tables": dict(self._tables)}


def _count(counts: Counter[str], names: set[str]) -> None:
    counts.update(name for name in names if name in counts or len(counts) < NAMES_MAX)
