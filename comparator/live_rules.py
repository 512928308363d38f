"""Hold the comparison rules in force while a process runs. Pure: the caller reads the configuration again and offers the result."""

from collections.abc import Mapping

from comparator.effects.catalog_check import contradictions
from comparator.errors import RuleError
from comparator.exchanges.table_schema import Schemas
from comparator.settings import CompareSettings
from comparator.tables import Table
from comparator.verdict import Comparator


class LiveRules:
    """The compiled comparator in force. Read `comparator` for each comparison, so that new rules apply from the next one on.

    Raises:
        RuleError: the initial settings are invalid.
    """

    __slots__ = ("_comparator", "_tables")

    def __init__(self, settings: CompareSettings) -> None:
        self._comparator = Comparator(settings)
        self._tables = settings.tables

    @property
    def comparator(self) -> Comparator:
        """The comparator with the rules in force."""
        return self._comparator

    @property
    def tables(self) -> Mapping[str, Table]:
        """The section `compare.tables` in force."""
        return self._tables

    def offer(self, settings: CompareSettings, schemas: Schemas | None = None) -> str | None:
        """Put new settings into force if they are valid; return None, or the problem, in which case the old ones stay in force.

        Args:
            settings: the section `compare` of the settings.
            schemas: of the captured tables, against which the descriptions of tables are held; None without change data capture.
        """
        problems = contradictions(settings.tables, schemas) if schemas is not None else []
        if problems:
            return "; ".join(problems)
        try:
            self._comparator = Comparator(settings)
        except RuleError as error:
            return str(error)
        self._tables = settings.tables
        return None
