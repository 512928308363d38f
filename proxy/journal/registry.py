"""Opens a journal from its settings: the one place that knows the drivers.

Proxies write segment files on their machine with either driver. With `files` the runner reads them there; with `valkey` a shipper on each
machine sends them to a broker, and the runner reads that.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from proxy.config.journal import JournalDriver, JournalSettings
from proxy.errors import JournalKeyError, SettingsError
from proxy.journal import segment_reader
from proxy.journal.broker import Broker
from proxy.journal.delivery import LoadedKeys
from proxy.journal.driver import JournalReader, JournalWriter
from proxy.journal.keys import ENVIRONMENT, load_keys
from proxy.journal.reconciliation import RunnerState, WriterState
from proxy.journal.sealing import JournalKeys
from proxy.journal.segment_reader import SegmentReader
from proxy.journal.segments import load_committed, offset_path
from proxy.journal.shared_reader import PassingOffsets, ReaderOffsets, SharedReader, open_shared_reader


def open_writer(
    settings: JournalSettings, environ: Mapping[str, str], *, keys_of: JournalSettings | None = None
) -> JournalWriter:
    """Return a writer to the journal; call `start` next.

    Args:
        settings: the `journal` section of config.yaml.
        environ: for SHADOW_JOURNAL_KEY.
        keys_of: a journal whose keys this one shares.

    Raises:
        JournalKeyError: the journal is shared, and SHADOW_JOURNAL_KEY is not set.
    """
    _require_common_key(settings, environ)
    # (it brings the encoders of heads, which those who only read would wait for: a tenth of the time of `shadow status`)
    from proxy.journal.segment_writer import SegmentWriter  # noqa: PLC0415

    return SegmentWriter(settings, environ=environ, keys_of=Path(keys_of.directory) if keys_of else None)


def open_reader(
    settings: JournalSettings,
    name: str,
    *,
    keys: JournalKeys | None = None,
    environ: Mapping[str, str] | None = None,
    skip_undecodable: bool = False,
) -> JournalReader:
    """Return a reader that continues behind the last commit under `name`, or begins with the oldest exchange.

    Args:
        settings: the `journal` section of config.yaml.
        name: of the consumer.
        keys: open what is sealed.
        environ: for SHADOW_JOURNAL_KEY, when a frame is sealed with a key that was added since; None never looks for one.
        skip_undecodable: note an exchange that cannot be decoded as unread and go on; otherwise reading it raises.

    Raises:
        JournalBusyError: another process reads under this name.
        JournalFormatError: the committed position cannot be read.
        SettingsError: the journal's folder cannot be used.
    """
    try:
        directory = Path(settings.directory)
        load = None if environ is None else lambda: load_keys(directory, environ)
        return SegmentReader(directory, name, keys=keys, load_keys=load, skip_undecodable=skip_undecodable)
    except OSError as error:
        raise SettingsError(f"journal.directory: {error}") from error


@asynccontextmanager
async def open_shared(
    settings: JournalSettings,
    offsets: ReaderOffsets,
    *,
    keys: JournalKeys,
    environ: Mapping[str, str],
    skip_undecodable: bool = False,
) -> AsyncGenerator[SharedReader, None]:
    """Read a shared journal until the block ends; a broker that is away is waited for.

    Args:
        settings: the `journal` section of config.yaml, with a broker.
        offsets: where the reader continues, and where it stores how far it has come.
        keys: open what is sealed.
        environ: for SHADOW_JOURNAL_KEY.
        skip_undecodable: note an exchange that cannot be decoded as unread and go on; otherwise reading it raises.
    """
    loaded = LoadedKeys(keys, lambda: load_keys(Path(settings.directory), environ))
    async with (
        open_broker(settings) as broker,
        open_shared_reader(broker, offsets, loaded, settings.valkey, skip_undecodable=skip_undecodable) as reader,
    ):
        yield reader


@asynccontextmanager
async def open_passing_reader(
    settings: JournalSettings, name: str, *, keys: JournalKeys, environ: Mapping[str, str]
) -> AsyncGenerator[JournalReader, None]:
    """Read what a journal holds, from the oldest exchange on, until the block ends. Of the shared one nothing is kept for this reader.

    Args:
        settings: the `journal` section of config.yaml.
        name: of the reader, for a journal of files.
        keys: open what is sealed.
        environ: for SHADOW_JOURNAL_KEY.

    Raises:
        SettingsError: the journal cannot be opened.
    """
    if settings.driver is JournalDriver.VALKEY:
        async with open_shared(settings, PassingOffsets(), keys=keys, environ=environ) as reader:
            yield reader
        return
    with open_reader(settings, name, keys=keys, environ=environ) as reader:
        yield reader


@asynccontextmanager
async def open_broker(settings: JournalSettings) -> AsyncGenerator[Broker, None]:
    """Open the broker of a shared journal; nothing is connected before it is used.

    Raises:
        SettingsError: a file of its TLS settings, or that of its password, cannot be read.
    """
    from proxy.journal.valkey_broker import ValkeyBroker  # noqa: PLC0415 (importing redis takes 100 ms)

    broker = ValkeyBroker(settings.valkey)
    try:
        yield broker
    finally:
        await broker.close()


async def read_writer_states(settings: JournalSettings) -> list[WriterState]:
    """Return how many exchanges each writer of the journal was offered, and how many it wrote.

    Raises:
        OSError: the journal of files cannot be read.
        BrokerUnavailableError: the broker of the shared one does not answer.
    """
    if settings.driver is JournalDriver.VALKEY:
        async with open_broker(settings) as broker:
            return [report.state for report in await broker.reports()]
    return await asyncio.to_thread(segment_reader.writer_states, Path(settings.directory))


def committed_state(settings: JournalSettings, name: str) -> RunnerState:
    """Return what a runner of a journal of files that does not run has read: up to its committed offset, with nothing in memory.

    Raises:
        JournalFormatError: the committed position cannot be read.
        OSError: the journal cannot be read.
    """
    directory = Path(settings.directory)
    committed = load_committed(offset_path(directory, name)).sequences
    return RunnerState({segment_reader.unique_name(directory / writer): last for writer, last in committed.items()}, {})


def journal_exists(settings: JournalSettings) -> bool:
    """Return whether there is a journal to read: the shared one, or one of files that was opened for writing on this machine."""
    return settings.driver is JournalDriver.VALKEY or Path(settings.directory).is_dir()


def journal_keys(settings: JournalSettings, environ: Mapping[str, str], *, create: bool = False) -> JournalKeys:
    """Return the keys that seal and open the journal.

    Args:
        settings: the `journal` section of config.yaml.
        environ: SHADOW_JOURNAL_KEY takes precedence over the stored keys.
        create: make a key when there is none (the proxy does; readers do not).

    Raises:
        JournalKeyError: there is no key, or it is too short; of a shared journal, it is not in SHADOW_JOURNAL_KEY.
    """
    _require_common_key(settings, environ)
    return load_keys(Path(settings.directory), environ, create=create)


def _require_common_key(settings: JournalSettings, environ: Mapping[str, str]) -> None:
    """Refuse a shared journal without a common key: a key that one machine makes opens nothing on another."""
    if settings.driver is JournalDriver.VALKEY and not environ.get(ENVIRONMENT):
        raise JournalKeyError(
            f"set {ENVIRONMENT} to the same secret on all machines: `journal.driver: valkey` ships what is sealed with it"
        )
