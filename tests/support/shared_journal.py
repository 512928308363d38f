"""Machines with a spool and a shipper each, and a reader of the shared journal, over a real server."""

import asyncio
import itertools
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from proxy.config.journal import JournalDriver, JournalSettings, RetentionSettings, ValkeySettings
from proxy.journal.driver import JournalEntry, JournalWriter
from proxy.journal.keys import load_keys
from proxy.journal.registry import open_broker, open_shared, open_writer
from proxy.journal.segment_reader import writer_states
from proxy.journal.segments import load_committed, offset_path
from proxy.journal.shared_reader import PassingOffsets, ReaderOffsets, SharedReader
from proxy.journal.shipper import READER, Shipper
from tests.support.exchanges import exchange
from tests.support.waiting import WAIT_S, until

ENVIRON = {"SHADOW_JOURNAL_KEY": "a common key of the tests"}


def shared_settings(url: str, folder: Path, **valkey: object) -> JournalSettings:
    """Return the settings of a machine whose spool is in `folder`."""
    broker = msgspec.convert({"url": url, "silent_max_s": 60.0, "timeout_s": 20.0, **valkey}, ValkeySettings)
    return JournalSettings(
        driver=JournalDriver.VALKEY, directory=str(folder), flush_ms=1.0, segment_max_bytes=4096, valkey=broker
    )


@dataclass
class CountingOffsets(PassingOffsets):
    """A reader that is the only one of its journal: what it has done, every reader has done."""

    async def slowest(self) -> dict[str, int]:
        return dict(self.numbers)


@dataclass
class Machine:
    """A machine with a proxy's journal. `served` has the ids of its exchanges in their order."""

    settings: JournalSettings
    writer: JournalWriter = field(init=False)
    served: list[str] = field(default_factory=list)
    numbers: itertools.count = field(default_factory=itertools.count)

    def open(self) -> None:
        self.writer = open_writer(self.settings, ENVIRON)
        self.writer.start()

    def serve(self, count: int = 1) -> None:
        """Journal exchanges that end now."""
        for _ in range(count):
            name = f"{Path(self.settings.directory).name}-{next(self.numbers)}"
            assert self.writer.append(exchange(name, ended_ns=time.time_ns()))
            self.served.append(name)

    async def written(self) -> None:
        """Wait until everything is in the spool."""
        await until(lambda: not self.writer.counts.queued)

    def committed(self) -> int:
        """Return how many exchanges the spool may delete."""
        return sum(load_committed(offset_path(Path(self.settings.directory), READER)).sequences.values())

    def state(self) -> tuple[int, bool]:
        """Return how many exchanges the only writer has written, and whether it runs."""
        (state,) = writer_states(Path(self.settings.directory))
        return state.written, state.running


@asynccontextmanager
async def shipped(machine: Machine) -> AsyncGenerator[Shipper, None]:
    """Ship a machine's spool until the end of the block, and then the rest of it."""
    stop = asyncio.Event()
    async with open_broker(machine.settings) as broker, asyncio.TaskGroup() as tasks:
        shipper = Shipper(machine.settings, broker)
        tasks.create_task(shipper.run(stop), name=f"shipper-{machine.settings.directory}")
        try:
            yield shipper
        finally:
            stop.set()


@asynccontextmanager
async def machines(url: str, folder: Path, count: int, **valkey: object) -> AsyncGenerator[Sequence[Machine], None]:
    """Run machines with their shippers for the duration of the block."""
    async with AsyncExitStack() as stack:
        opened = [Machine(shared_settings(url, folder / f"m{number}", **valkey)) for number in range(count)]
        for machine in opened:
            machine.open()
            stack.callback(machine.writer.close)
            await stack.enter_async_context(shipped(machine))
        yield opened


@asynccontextmanager
async def reading(settings: JournalSettings, offsets: ReaderOffsets) -> AsyncGenerator[SharedReader, None]:
    """Read the shared journal for the duration of the block."""
    keys = load_keys(Path(settings.directory), ENVIRON)
    async with open_shared(settings, offsets, keys=keys, environ=ENVIRON, skip_undecodable=True) as reader:
        yield reader


async def read_count(reader: SharedReader, count: int, *, commit: bool = True) -> list[JournalEntry]:
    """Read until so many exchanges were returned or lost, and commit them."""
    entries: list[JournalEntry] = []
    lost_before = reader.lost
    async with asyncio.timeout(WAIT_S):
        while len(entries) + reader.lost - lost_before < count:
            entries += await reader.read(100, 0.2)
    if commit and entries:
        await asyncio.to_thread(reader.commit, entries[-1].position)
    return entries


def limited(settings: JournalSettings, disk_max_bytes: int) -> JournalSettings:
    """Return settings of a spool that holds little."""
    retention = RetentionSettings(size_max_bytes=disk_max_bytes, disk_max_bytes=disk_max_bytes)
    return msgspec.structs.replace(settings, retention=retention)
