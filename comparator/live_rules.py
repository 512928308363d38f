"""The rules in force while a process runs: new ones are taken only when they make sense.

Pure. Whoever watches the file (or gets the signal) offers what it read; a bad offer leaves the old rules as they are.
"""

from comparator.errors import RuleError
from comparator.settings import CompareSettings
from comparator.verdict import Comparator


class LiveRules:
    """Holds the compiled comparator; `comparator` is read for each comparison, so a change holds from the next one on.

    Raises:
        RuleError: from the constructor, when the first settings are wrong.
    """

    __slots__ = ("_comparator",)

    def __init__(self, settings: CompareSettings) -> None:
        self._comparator = Comparator(settings)

    @property
    def comparator(self) -> Comparator:
        """The rules in force."""
        return self._comparator

    def offer(self, settings: CompareSettings) -> str:
        """Take new settings; return "" when they are in force, else what is wrong with them and the old ones stay."""
        try:
            self._comparator = Comparator(settings)
        except RuleError as error:
            return str(error)
        return ""
