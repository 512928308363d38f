"""Exit codes of all commands; docs/reference/exit-codes.md is generated from them."""

from enum import IntEnum
from typing import Final


class Exit(IntEnum):
    """The exit codes. A command that answers a question ends with DONE for yes and NEGATIVE for no."""

    DONE = 0
    NEGATIVE = 1
    USAGE = 2
    UNAVAILABLE = 3
    INTERRUPTED = 130


MEANING: Final = {
    Exit.DONE: "success, or the answer is yes",
    Exit.NEGATIVE: "the answer is no: a difference, damage, an exceeded threshold, or a refused change of the rollout",
    Exit.USAGE: "wrong option, file or configuration, or a database that lacks a prerequisite; nothing was done",
    Exit.UNAVAILABLE: "something that the command needs is unavailable or failed: a database, the store, a proxy, a process of the demo",
    Exit.INTERRUPTED: "interrupted by Ctrl-C or SIGTERM",
}
