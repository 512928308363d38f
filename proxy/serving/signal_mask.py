"""Signals that come before a process can act on them wait, instead of ending it.

Whoever rolls back by SIGUSR2 does not know whether the proxy is just starting, and a process without a handler dies of it.
"""

import signal
from collections.abc import Generator
from contextlib import contextmanager

HELD = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


@contextmanager
def held() -> Generator[None, None, None]:
    """Let them wait inside the context, until `release`. To be entered before anything that takes time to import."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def release() -> None:
    """There is a handler for each of them now: those that waited come."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)
