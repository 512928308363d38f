"""What can go wrong in the comparator, each with the sentence that says what to do.

    ComparatorError
    ├── RuleError                 a rule, table or known difference in config.yaml is wrong; the message names its path
    ├── CaseError                 an exported case or a stored comparison cannot be read
    └── StoreError                verdicts cannot be kept
        ├── StoreUnavailableError     the database does not answer: keep the offset and try again
        └── UnknownFindingError       no finding has this id

Errors of capturing row changes have a tree of their own: `comparator.capture.errors`.
"""


class ComparatorError(Exception):
    """Root of this package's errors."""


class RuleError(ComparatorError):
    """A declared rule cannot be used.

    Args:
        path: where it stands in the configuration, e.g. `compare.routes.v2_score.rules[3].path`.
        reason: what is wrong with it.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class CaseError(ComparatorError):
    """An exported case or a stored comparison is not readable."""


class StoreError(ComparatorError):
    """Root of the store's errors."""


class StoreUnavailableError(StoreError):
    """The store's database does not answer; nothing of the batch was kept and the whole batch may be given again."""


class UnknownFindingError(StoreError):
    """No finding has the id that was asked for."""
