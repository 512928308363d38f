"""proxy.runner.offset_writer: the newest position is stored, and nobody waits for the disk."""

import threading

from proxy.rollout.disk import DiskThread
from proxy.runner.offset_writer import OffsetWriter
from tests.support import waiting


async def test_only_the_newest_of_the_positions_that_wait_is_stored() -> None:
    hangs, stored = threading.Event(), list[tuple[int | None, int]]()
    ended: list[tuple[int, bool]] = []

    def store(position: int | None, live_us: int) -> None:
        hangs.wait()
        stored.append((position, live_us))

    writer = OffsetWriter[int](store, DiskThread("test-offset"), lambda: None)
    for number in range(1, 5):
        writer.commit(number, number * 10, lambda ok, number=number: ended.append((number, ok)))
    writer.commit(None, 50)
    assert stored == []
    hangs.set()
    await writer.close()
    assert stored == [(1, 10), (4, 50)]
    assert ended == [(1, True)]


async def test_position_that_cannot_be_stored_is_counted_and_the_next_one_is_stored() -> None:
    errors: list[None] = []
    ended: list[bool] = []
    stored: list[int | None] = []

    def store(position: int | None, live_us: int) -> None:
        if position == 1:
            raise OSError(28, "No space left on device")
        stored.append(position)

    writer = OffsetWriter[int](store, DiskThread("test-offset"), lambda: errors.append(None))
    writer.commit(1, 0, ended.append)
    await waiting.until(lambda: ended == [False])
    writer.commit(2, 0, ended.append)
    await writer.close()
    assert (stored, ended, len(errors)) == ([2], [False, True], 1)
