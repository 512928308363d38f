"""Hold the comparison rules in force while a process runs. Pure: the caller reads the configuration again and offers the result."""

from comparator.errors import RuleError
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

    def offer(self, settings: CompareSettings) -> str | None:
        """Put new settings into force if they are valid; return None, or the problem, in which case the old ones stay in force."""
        try:
            self._comparator = Comparator(settings)
        except RuleError as error:
            return str(error)
        return None
