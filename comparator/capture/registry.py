"""Open the capture driver that the settings name; the only module that knows all drivers."""

from typing import assert_never

from comparator.capture.driver import Capture
from comparator.capture.errors import CaptureClosedError
from comparator.capture.settings import CaptureSettings, Driver
from comparator.capture.sql_driver import SqlCapture
from comparator.capture.stream_driver import StreamCapture
from comparator.capture.trigger_driver import TriggerCapture


def open_capture(dsn: str, settings: CaptureSettings) -> Capture:
    """Return a capture of the database at `dsn`; enter it with `async with`, then `start` it.

    Raises:
        CaptureClosedError: the driver is `off`, so there is nothing to open.
    """
    match settings.driver:
        case Driver.STREAM:
            return StreamCapture(dsn, settings)
        case Driver.SQL:
            return SqlCapture(dsn, settings)
        case Driver.TRIGGERS:
            return TriggerCapture(dsn, settings)
        case Driver.OFF:
            raise CaptureClosedError("capture.driver is `off`: there is no change data capture")
        case _:
            assert_never(settings.driver)
