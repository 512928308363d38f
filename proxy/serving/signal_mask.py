"""Block signals until a process has handlers for them.

An operator who rolls back by SIGUSR2 cannot know whether the proxy is just starting, and the default action of the signal would kill it.
"""

import signal
from collections.abc import Generator
from contextlib import contextmanager

BLOCKED_SIGNALS = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


@contextmanager
def signals_blocked() -> Generator[None, None, None]:
    """Block the signals inside the context, until `unblock_signals`. Enter it before any import that takes time."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def unblock_signals() -> None:
    """Deliver the signals that have waited: there is a handler for each of them now."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, BLOCKED_SIGNALS)
