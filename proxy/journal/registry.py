"""Opens a journal from its settings: the one place that knows the drivers. There is one today: segment files on local disk."""

from collections.abc import Mapping
from pathlib import Path

from proxy.config.journal import JournalSettings
from proxy.errors import SettingsError
from proxy.journal import segment_reader
from proxy.journal.driver import JournalReader, JournalWriter
from proxy.journal.keys import load_keys
from proxy.journal.reconciliation import RunnerState, WriterState
from proxy.journal.sealing import JournalKeys
from proxy.journal.segment_reader import SegmentReader
from proxy.journal.segments import load_committed, offset_path


def open_writer(
    settings: JournalSettings, environ: Mapping[str, str], *, keys_of: JournalSettings | None = None
) -> JournalWriter:
    """Return a writer to the journal; call `start` next.

    Args:
        settings: the `journal` section of config.yaml.
        environ: for SHADOW_JOURNAL_KEY.
        keys_of: a journal whose keys this one shares.
    """
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


def writer_states(settings: JournalSettings) -> list[WriterState]:
    """Return how many exchanges each writer of the journal was offered, and how many it wrote.

    Raises:
        OSError: the journal cannot be read.
    """
    return segment_reader.writer_states(Path(settings.directory))


def committed_state(settings: JournalSettings, name: str) -> RunnerState:
    """Return what a runner that does not run has read: up to its committed offset, with nothing in memory.

    Raises:
        JournalFormatError: the committed position cannot be read.
        OSError: the journal cannot be read.
    """
    directory = Path(settings.directory)
    committed = load_committed(offset_path(directory, name)).sequences
    return RunnerState({segment_reader.unique_name(directory / writer): last for writer, last in committed.items()}, {})


def journal_exists(settings: JournalSettings) -> bool:
    """Return whether the journal was ever opened for writing on this machine."""
    return Path(settings.directory).is_dir()


def journal_keys(settings: JournalSettings, environ: Mapping[str, str], *, create: bool = False) -> JournalKeys:
    """Return the keys that seal and open the journal.

    Args:
        settings: the `journal` section of config.yaml.
        environ: SHADOW_JOURNAL_KEY takes precedence over the stored keys.
        create: make a key when there is none (the proxy does; readers do not).

    Raises:
        JournalKeyError: there is no key, or it is too short.
    """
    return load_keys(Path(settings.directory), environ, create=create)
