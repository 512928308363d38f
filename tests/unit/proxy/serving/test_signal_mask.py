"""Signals that wait until a process can act on them."""

import signal

from proxy.serving.signal_mask import signals_blocked, unblock_signals


def test_a_signal_waits_until_there_is_a_handler_for_it() -> None:
    come: list[int] = []
    before = signal.getsignal(signal.SIGUSR2)
    try:
        with signals_blocked():
            # (to this thread: another one of the tests does not hold it)
            signal.raise_signal(signal.SIGUSR2)
            signal.signal(signal.SIGUSR2, lambda number, _: come.append(number))
            assert come == []
            unblock_signals()
            assert come == [signal.SIGUSR2]
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_what_was_held_before_stays_so_afterwards() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with signals_blocked():
        assert signal.SIGUSR2 in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
