"""A timer good to about 50 us. Those of event loops count whole milliseconds, which is more than a proxy adds to a request.

It is Linux' timerfd, which Python has from 3.13 on.
"""

import asyncio
import ctypes
import os
from collections.abc import Callable

CLOCK_MONOTONIC = 1
ABSOLUTE = 1

_libc = ctypes.CDLL(None, use_errno=True)


class _Spec(ctypes.Structure):
    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("value_s", ctypes.c_long),
        ("value_ns", ctypes.c_long),
    )


class Alarm:
    """Call `ring` at the time it is set to, on the clock of time.monotonic()."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._loop = loop
        self._ring = ring
        self._fd = _libc.timerfd_create(CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        loop.add_reader(self._fd, self._fired)

    def set(self, at_s: float) -> None:
        """Ring once at `at_s`, or at once if that is past."""
        whole = int(at_s)
        spec = _Spec(0, 0, whole, max(1, int((at_s - whole) * 1e9)))
        if _libc.timerfd_settime(self._fd, ABSOLUTE, ctypes.byref(spec), None) < 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    def close(self) -> None:
        """Close the timer."""
        self._loop.remove_reader(self._fd)
        os.close(self._fd)

    def _fired(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:  # set again between the event and this call
            return
        self._ring()
