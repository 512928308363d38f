"""Signals that are blocked until a process has handlers for them."""

import signal

from proxy.serving.signal_mask import signals_blocked, unblock_signals


def test_blocked_signal_waits_for_its_handler() -> None:
    received: list[int] = []
    before = signal.getsignal(signal.SIGUSR2)
    try:
        with signals_blocked():
            # (to this thread: other threads of the test run do not block it)
            signal.raise_signal(signal.SIGUSR2)
            signal.signal(signal.SIGUSR2, lambda number, _: received.append(number))
            assert received == []
            unblock_signals()
            assert received == [signal.SIGUSR2]
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_signal_mask_is_restored() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with signals_blocked():
        assert signal.SIGUSR2 in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
