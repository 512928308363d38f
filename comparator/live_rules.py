"""Hold the comparison rules in force while a process runs. Pure: the caller reads the configuration again and offers the result."""

from comparator.effects.catalog_check import contradictions
from comparator.errors import RuleError
from comparator.exchanges.table_schema import Schemas
from comparator.settings import CompareSettings
from comparator.verdict import Comparator


class LiveRules:
    """The compiled comparator in force. Read `comparator` for each comparison, so that new rules apply from the next one on.

    Raises:
        RuleError: the initial settings are invalid.
    """

    __slots__ = ("_comparator",)

    def __init__(self, settings: CompareSettings) -> None:
        self._comparator = Comparator(settings)

    @property
    def comparator(self) -> Comparator:
        """The comparator with the rules in force."""
        return self._comparator

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
        return None
