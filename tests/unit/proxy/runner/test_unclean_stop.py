"""A runner is told whether the one before left requests running."""

from contextlib import suppress
from pathlib import Path

import pytest

from proxy.runner.unclean_stop import SUFFIX, running_mark


@pytest.mark.parametrize(
    ("is_finished", "error", "left"), [(True, None, False), (False, None, True), (True, RuntimeError, True)]
)
def test_mark_stays_where_requests_may_be_running(
    tmp_path: Path, error: type[Exception] | None, *, is_finished: bool, left: bool
) -> None:
    with suppress(RuntimeError), running_mark(tmp_path, "mirror", lambda: is_finished) as was_killed:
        assert not was_killed
        assert (tmp_path / f"mirror{SUFFIX}").stat().st_mode & 0o777 == 0o600
        if error is not None:
            raise error
    with running_mark(tmp_path, "mirror", lambda: True) as was_killed:
        assert was_killed is left
    with running_mark(tmp_path, "mirror", lambda: True) as was_killed:
        assert not was_killed
