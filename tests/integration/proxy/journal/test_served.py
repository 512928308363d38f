"""Journaling of served exchanges: encoded by the event loop, written by the thread."""

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
from tests.support.served_exchanges import ServedExchanges

UNTIL_CLOSED_MS = 3_600_000.0
"""The thread writes nothing before the writer is closed."""


@contextmanager
def writing(directory: Path, environ: Mapping[str, str] | None = None) -> Iterator[SegmentWriter]:
    """Open a writer that writes everything when it is closed."""
    writer = SegmentWriter(JournalSettings(directory=str(directory), flush_ms=UNTIL_CLOSED_MS), environ=environ or {})
    writer.start()
    try:
        yield writer
    finally:
        writer.close()


def read(directory: Path, environ: Mapping[str, str] | None = None) -> list[tuple[str, str | None]]:
    """Return ids and API keys."""
    with SegmentReader(directory, "test", keys=load_keys(directory, environ or {})) as reader:
        exchanges = [entry.exchange for entry in reader.take(10_000)]
    return [(exchange.id, dict(exchange.request.headers)["X-API-Key"]) for exchange in exchanges]


def append(writer: SegmentWriter, drafts: list[ServedExchange]) -> None:
    assert all(writer.append_served(draft) for draft in drafts)


def test_served_exchanges_are_read_in_order_with_their_secrets(tmp_path: Path) -> None:
    serving = ServedExchanges()
    names = [str(number) for number in range(ENCODED_AT_ONCE * 3 + 5)]
    with writing(tmp_path) as writer:
        append(writer, [serving.exchange(name, secret=f"key-{name}") for name in names])
    assert read(tmp_path) == [(name, f"key-{name}") for name in names]
    assert (writer.counts.batches, writer.counts.queued) == (4, 0)


def test_batches_of_a_removed_folder_are_sealed_with_the_key_of_the_new_one(tmp_path: Path) -> None:
    directory = tmp_path / "journal"
    with writing(directory) as writer:
        append(writer, ServedExchanges().exchanges(range(ENCODED_AT_ONCE + 8)))
        shutil.rmtree(directory)
    counts = writer.counts
    assert (counts.dropped.total(), counts.written, counts.queued) == (0, ENCODED_AT_ONCE + 8, 0)
    assert read(directory) == [(str(number), "s3cret") for number in range(ENCODED_AT_ONCE + 8)]


def test_batches_are_written_to_a_recreated_folder_with_the_same_key(tmp_path: Path) -> None:
    environ = {"SHADOW_JOURNAL_KEY": "k" * 32}
    directory = tmp_path / "journal"
    with writing(directory, environ) as writer:
        append(writer, ServedExchanges().exchanges(range(ENCODED_AT_ONCE + 8)))
        shutil.rmtree(directory)
    assert read(directory, environ) == [(str(number), "s3cret") for number in range(ENCODED_AT_ONCE + 8)]


@pytest.mark.parametrize("place", [0, 7, ENCODED_AT_ONCE - 1, ENCODED_AT_ONCE + 3])
def test_exchange_that_cannot_be_encoded_is_dropped_alone(tmp_path: Path, place: int) -> None:
    serving = ServedExchanges()
    drafts = serving.exchanges(range(ENCODED_AT_ONCE + 8))
    drafts[place] = serving.exchange(str(place), key="\ud800")
    with writing(tmp_path) as writer:
        append(writer, drafts)
    counts = writer.counts
    assert (counts.dropped, counts.queued) == ({LossCause.ENCODING: 1}, 0)
    assert counts.losses_by_route() == {drafts[place].route_name: 1}
    assert [name for name, _ in read(tmp_path)] == [draft.id for draft in drafts if draft.key != "\ud800"]
