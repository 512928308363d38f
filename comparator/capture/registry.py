"""From settings to a driver: the one place that knows them all."""

from typing import assert_never

from comparator.capture.driver import Capture
from comparator.capture.errors import CaptureClosedError
from comparator.capture.settings import CaptureSettings, Driver
from comparator.capture.sql_driver import SqlCapture
from comparator.capture.stream_driver import StreamCapture
from comparator.capture.trigger_driver import TriggerCapture


def open_capture(dsn: str, settings: CaptureSettings) -> Capture:
    """The capture of the database of `dsn` by `settings.driver`; enter it with `async with`, then `start`.

    Raises:
        CaptureClosedError: the driver is off; ask before.
    """
    match settings.driver:
        case Driver.STREAM:
            return StreamCapture(dsn, settings)
        case Driver.SQL:
            return SqlCapture(dsn, settings)
        case Driver.TRIGGERS:
            return TriggerCapture(dsn, settings)
        case Driver.OFF:
            raise CaptureClosedError("the capture is off by setting")
        case _:
            assert_never(settings.driver)
