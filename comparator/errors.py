"""Define the comparator's errors. Errors of change data capture have a tree of their own: `comparator.capture.errors`.

ComparatorError
├── RuleError                 a rule, table or known difference in config.yaml is invalid; the message names its path
├── CaseError                 an exported case or a stored comparison cannot be read
└── StoreError                verdicts cannot be stored or read
    ├── StoreUnavailableError     the database is unavailable: keep the journal's offset and retry
    ├── UnknownFindingError       no finding has this id
    └── UnknownCauseError         no cause has this id
"""


class ComparatorError(Exception):
    """Root of this package's errors."""


class RuleError(ComparatorError):
    """A rule, table or known difference in the configuration is invalid.

    Args:
        path: configuration path of the invalid value, e.g. `compare.routes.v2_score.rules[3].path`.
        reason: description of the mistake.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class CaseError(ComparatorError):
    """An exported case or a stored comparison is damaged, or of another version."""


class StoreError(ComparatorError):
    """Root of the store's errors."""


class StoreUnavailableError(StoreError):
    """The store's database is unavailable. Nothing of the batch was stored: the whole batch may be added again."""


class UnknownFindingError(StoreError):
    """No finding has the requested id."""


class UnknownCauseError(StoreError):
    """No cause has the requested id."""
