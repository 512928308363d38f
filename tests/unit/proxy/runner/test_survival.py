"""proxy.runner.survival: a loop goes on after an error that nothing has foreseen, and ends by one that an operator has to mend."""

import pytest
from prometheus_client import CollectorRegistry

from comparator.capture.errors import CaptureLostError, ChangeLogError
from comparator.errors import StoreUnavailableError
from proxy.errors import DatabaseUnreachableError, JournalFormatError, SettingsError
from proxy.runner.metrics import ErrorPlace, RunnerMetrics
from proxy.runner.survival import surviving

SURVIVED = [
    KeyError("a route that is new"),
    RuntimeError("dictionary changed size during iteration"),
    AssertionError("what cannot be"),
    OSError(5, "Input/output error"),
    CaptureLostError("the connection broke"),
    StoreUnavailableError("away"),
    DatabaseUnreachableError("away"),
    ExceptionGroup("tasks", [ValueError("one"), StoreUnavailableError("two")]),
]
ENDS = [
    SettingsError("routes: a name twice"),
    JournalFormatError("written by another version"),
    ChangeLogError("run `shadow capture install`"),
    ExceptionGroup("tasks", [ValueError("one"), SettingsError("two")]),
]


@pytest.mark.parametrize("place", list(ErrorPlace))
@pytest.mark.parametrize("error", SURVIVED, ids=lambda error: type(error).__name__)
async def test_loop_goes_on_and_the_error_is_counted_by_place(error: Exception, place: ErrorPlace) -> None:
    metrics, errors, resyncs = RunnerMetrics(CollectorRegistry()), [error, error], list[None]()

    async def work() -> None:
        while errors:
            raise errors.pop()

    await surviving(work, place, metrics, on_error=lambda: resyncs.append(None), pause_s=0)
    assert metrics.errors.labels(place)._value.get() == len(resyncs) == 2


@pytest.mark.parametrize("error", ENDS, ids=lambda error: type(error).__name__)
async def test_error_of_the_configuration_ends_the_loop(error: Exception) -> None:
    async def work() -> None:
        raise error

    with pytest.raises(type(error)):
        await surviving(work, ErrorPlace.INTAKE, RunnerMetrics(CollectorRegistry()), pause_s=0)
