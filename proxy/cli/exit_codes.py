"""How a command ends: one table for all of them, README's included."""

from enum import IntEnum


class Exit(IntEnum):
    """The exit codes. A command that asks a question answers by DONE (yes, equal, well) or NO."""

    DONE = 0
    NEGATIVE = 1
    USAGE = 2
    UNAVAILABLE = 3
    INTERRUPTED = 130


MEANING = {
    Exit.DONE: "done, and nothing is wrong",
    Exit.NEGATIVE: "the answer is no: something differs, is damaged or over a threshold, or the rollout refused a change",
    Exit.USAGE: "wrong use or configuration: an option, a file, config.yaml, what a database lacks; nothing was done",
    Exit.UNAVAILABLE: "what it needs is away or failed: a database, the store, a proxy, a part of the demo",
    Exit.INTERRUPTED: "interrupted before its end",
}
