"""What is journaled of exchanges that were just served: packed by the loop, written by the thread."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from proxy.config.journal import JournalSettings
from proxy.journal.driver import LossCause
from proxy.journal.keys import load_keys
from proxy.journal.queue import ENCODED_AT_ONCE
from proxy.journal.segment_reader import SegmentReader
from proxy.journal.segment_writer import SegmentWriter
from proxy.journal.served_exchange import ServedExchange
from tests.support.drafts import Serving

UNTIL_CLOSED_MS = 3_600_000.0
"""The thread writes nothing before the writer is closed."""


@contextmanager
def writing(directory: Path, environ: Mapping[str, str] | None = None) -> Iterator[SegmentWriter]:
    """A writer that writes all that it was given when it is closed."""
    writer = SegmentWriter(JournalSettings(directory=str(directory), flush_ms=UNTIL_CLOSED_MS), environ=environ or {})
    writer.start()
    try:
        yield writer
    finally:
        writer.close()


def read(directory: Path, environ: Mapping[str, str] | None = None) -> list[tuple[str, str | None]]:
    """Ids and API keys."""
    with SegmentReader(directory, "test", keys=load_keys(directory, environ or {})) as reader:
        exchanges = [entry.exchange for entry in reader.take(10_000)]
    return [(exchange.id, dict(exchange.request.headers)["X-API-Key"]) for exchange in exchanges]


def append(writer: SegmentWriter, drafts: list[ServedExchange]) -> None:
    assert all(writer.append_served(draft) for draft in drafts)


def test_what_was_served_is_read_in_its_order_with_its_secrets(tmp_path: Path) -> None:
    serving = Serving()
    names = [str(number) for number in range(ENCODED_AT_ONCE * 3 + 5)]
    with writing(tmp_path) as writer:
        append(writer, [serving.draft(name, secret=f"key-{name}") for name in names])
    assert read(tmp_path) == [(name, f"key-{name}") for name in names]
    assert (writer.counts.batches, writer.counts.queued) == (4, 0)


def test_what_was_packed_for_a_key_that_is_gone_is_dropped_and_the_rest_is_read(tmp_path: Path) -> None:
    directory = tmp_path / "journal"
    with writing(directory) as writer:
        append(writer, Serving().drafts(range(ENCODED_AT_ONCE + 8)))
        shutil.rmtree(directory)
    counts = writer.counts
    assert (counts.dropped[LossCause.DISK_ERROR], counts.written, counts.queued) == (ENCODED_AT_ONCE, 8, 0)
    assert read(directory) == [(str(number), "s3cret") for number in range(ENCODED_AT_ONCE, ENCODED_AT_ONCE + 8)]


def test_what_was_packed_is_written_to_a_folder_made_anew_with_the_same_key(tmp_path: Path) -> None:
    environ = {"SHADOW_JOURNAL_KEY": "k" * 32}
    directory = tmp_path / "journal"
    with writing(directory, environ) as writer:
        append(writer, Serving().drafts(range(ENCODED_AT_ONCE + 8)))
        shutil.rmtree(directory)
    assert read(directory, environ) == [(str(number), "s3cret") for number in range(ENCODED_AT_ONCE + 8)]


@pytest.mark.parametrize("place", [0, 7, ENCODED_AT_ONCE - 1, ENCODED_AT_ONCE + 3])
def test_an_exchange_that_cannot_be_encoded_costs_only_itself(tmp_path: Path, place: int) -> None:
    serving = Serving()
    drafts = serving.drafts(range(ENCODED_AT_ONCE + 8))
    drafts[place] = serving.draft(str(place), key="\ud800")
    with writing(tmp_path) as writer:
        append(writer, drafts)
    counts = writer.counts
    assert (counts.dropped, counts.queued) == ({LossCause.ENCODING: 1}, 0)
    assert [name for name, _ in read(tmp_path)] == [draft.id for draft in drafts if draft.key != "\ud800"]
