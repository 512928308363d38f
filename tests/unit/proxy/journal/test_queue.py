"""The write queue returns everything once and in order, whether encoded by the loop or not."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from proxy.config.journal import JournalSettings
from proxy.journal.batch import EncodedBatch, QueueEntry
from proxy.journal.fast_encoder import FastEncoder
from proxy.journal.format import decode_payload
from proxy.journal.queue import (
    ENCODED_AT_ONCE,
    FRAME_BODIES_MAX_BYTES,
    LOOP_ENCODED_MAX_BYTES,
    RECORD_OVERHEAD_BYTES,
    WriteQueue,
)
from proxy.journal.served_exchange import ServedExchange
from tests.support.served_exchanges import ServedExchanges

ENCODER = FastEncoder()
WAIT_S = 60
"""Limit of a hang."""


def add(queue: WriteQueue, exchanges: list[ServedExchange]) -> None:
    for exchange in exchanges:
        queue.add_served(exchange, len(exchange.response_body.body), ENCODER)


def parts_of(taken: list[EncodedBatch] | list[QueueEntry]) -> list[list[str]]:
    """Return the ids of what was taken at once, by frame."""
    batches = [
        [record.id for record in decode_payload(item.payload)] for item in taken if isinstance(item, EncodedBatch)
    ]
    others = [entry.id for entry in taken if not isinstance(entry, EncodedBatch)]
    return [*batches, others] if others else batches


def ids_of(taken: list[EncodedBatch] | list[QueueEntry]) -> list[str]:
    return [exchange_id for part in parts_of(taken) for exchange_id in part]


def drained(queue: WriteQueue) -> list[list[str]]:
    """Take everything; return the ids by frame."""
    taken: list[list[str]] = []
    while queue:
        taken += parts_of(queue.take())
    return taken


def numbers(*sizes: int) -> list[list[str]]:
    """Return parts of these sizes with consecutive numbers as ids."""
    ends = [sum(sizes[: index + 1]) for index in range(len(sizes))]
    return [[str(number) for number in range(end - size, end)] for size, end in zip(sizes, ends, strict=True)]


def with_one_not_encodable_fast(index: int, *, count: int) -> list[ServedExchange]:
    """Return exchanges of which one cannot be encoded fast: a value is long."""
    serving = ServedExchanges()
    exchanges = serving.exchanges(range(count))
    exchanges[index] = serving.exchange(str(index), secret="k" * 300)
    return exchanges


def test_served_exchanges_are_taken_as_batches_and_a_remainder() -> None:
    queue = WriteQueue(JournalSettings())
    add(queue, ServedExchanges().exchanges(range(ENCODED_AT_ONCE * 2 + 5)))
    assert drained(queue) == numbers(ENCODED_AT_ONCE, ENCODED_AT_ONCE, 5)
    assert not queue


def test_records_and_large_exchanges_keep_their_order() -> None:
    serving, queue = ServedExchanges(), WriteQueue(JournalSettings())
    add(queue, serving.exchanges(range(ENCODED_AT_ONCE + 3)))
    queue.add(serving.exchange("record").record(), 2)
    add(queue, [serving.exchange("large", body=b"x" * (LOOP_ENCODED_MAX_BYTES + 1)), *serving.exchanges(["after"])])
    expected = [str(number) for number in range(ENCODED_AT_ONCE + 3)] + ["record", "large", "after"]
    assert [name for part in drained(queue) for name in part] == expected


def test_exchanges_taken_early_are_not_in_the_next_batch() -> None:
    serving, queue = ServedExchanges(), WriteQueue(JournalSettings())
    add(queue, serving.exchanges(range(5)))
    first = ids_of(queue.take())
    add(queue, serving.exchanges(range(5, 5 + ENCODED_AT_ONCE)))
    assert [first, *drained(queue)] == numbers(5, ENCODED_AT_ONCE)


@pytest.mark.parametrize("index", [0, 13, ENCODED_AT_ONCE - 1])
def test_exchange_that_cannot_be_encoded_fast_leaves_its_batch_to_the_thread_in_order(index: int) -> None:
    queue = WriteQueue(JournalSettings())
    add(queue, with_one_not_encodable_fast(index, count=ENCODED_AT_ONCE * 2))
    taken = [queue.take(), queue.take()]
    assert [isinstance(part[0], EncodedBatch) for part in taken] == [False, True]
    assert [ids_of(part) for part in taken] == numbers(ENCODED_AT_ONCE, ENCODED_AT_ONCE)


def test_exchange_that_cannot_be_encoded_leaves_its_batch_to_the_thread() -> None:
    serving, queue = ServedExchanges(), WriteQueue(JournalSettings())
    add(queue, [serving.exchange("0", key="\ud800"), *serving.exchanges(range(1, ENCODED_AT_ONCE))])
    taken = queue.take()
    assert not any(isinstance(item, EncodedBatch) for item in taken)
    assert ids_of(taken) == numbers(ENCODED_AT_ONCE)[0]


def test_unencoded_exchanges_are_taken_up_to_batch_max() -> None:
    queue = WriteQueue(JournalSettings(batch_max=20))
    add(queue, with_one_not_encodable_fast(0, count=ENCODED_AT_ONCE))
    assert drained(queue) == numbers(20, ENCODED_AT_ONCE - 20)


def test_large_exchanges_are_taken_in_small_batches() -> None:
    serving, queue = ServedExchanges(), WriteQueue(JournalSettings())
    add(queue, [serving.exchange(str(number), body=b"x" * (FRAME_BODIES_MAX_BYTES // 2)) for number in range(4)])
    assert drained(queue) == numbers(2, 2)


@pytest.mark.parametrize("count", [1, ENCODED_AT_ONCE, ENCODED_AT_ONCE + 1])
def test_queue_is_bounded_by_exchanges(count: int) -> None:
    queue = WriteQueue(JournalSettings(queue_max=count))
    exchanges = ServedExchanges().exchanges(range(count))
    add(queue, exchanges[:-1])
    assert queue.has_room(2)
    add(queue, exchanges[-1:])
    assert not queue.has_room(2)
    queue.take()
    assert queue.has_room(2)


@pytest.mark.parametrize("count", [1, ENCODED_AT_ONCE, ENCODED_AT_ONCE + 1])
def test_queue_is_bounded_by_bytes(count: int) -> None:
    weight = 2 + RECORD_OVERHEAD_BYTES
    queue = WriteQueue(JournalSettings(queue_max_bytes=count * weight))
    add(queue, ServedExchanges().exchanges(range(count - 1)))
    assert queue.has_room(2)
    assert not queue.has_room(3)


@pytest.mark.parametrize("index", [0, ENCODED_AT_ONCE, ENCODED_AT_ONCE * 2 + 1])
def test_taking_everything_frees_all_room(index: int) -> None:
    """The room is one exchange; `add` does not check it."""
    queue = WriteQueue(JournalSettings(queue_max=1, queue_max_bytes=2 + RECORD_OVERHEAD_BYTES))
    exchanges = with_one_not_encodable_fast(index, count=ENCODED_AT_ONCE * 2 + 2)
    add(queue, exchanges)
    queue.add(exchanges[0].record(), LOOP_ENCODED_MAX_BYTES)
    drained(queue)
    assert queue.has_room(2)
    assert not queue.has_room(3)
    add(queue, exchanges[1:2])
    assert not queue.has_room(0)


@contextmanager
def frequent_thread_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def of_each_kind(count: int) -> list[ServedExchange]:
    """Return exchanges of which some are encoded fast, some cannot be, and some are large."""
    serving = ServedExchanges()
    kinds = [
        serving.exchange(""),
        serving.exchange("", secret="k" * 300),
        serving.exchange("", body=b"x" * (LOOP_ENCODED_MAX_BYTES + 1)),
    ]
    exchanges: list[ServedExchange] = []
    for number in range(count):
        kind = kinds[1 if number % 997 == 0 else 2 if number % 211 == 0 else 0]
        exchange = ServedExchange(kind.head, str(number), 1, 0.0, 0)
        exchange.response, exchange.response_body, exchange.added = kind.response, kind.response_body, kind.added
        exchanges.append(exchange)
    return exchanges


def test_concurrent_add_and_take_lose_duplicate_and_reorder_nothing() -> None:
    exchanges = of_each_kind(20_000)
    queue = WriteQueue(JournalSettings(queue_max=1, queue_max_bytes=2 + RECORD_OVERHEAD_BYTES))
    taken: list[list[EncodedBatch] | list[QueueEntry]] = []
    added = threading.Event()

    def take() -> None:
        while not added.is_set() or queue:
            if part := queue.take():
                taken.append(part)

    add(queue, exchanges[: ENCODED_AT_ONCE * 2])
    thread = threading.Thread(target=take)
    with frequent_thread_switches():
        thread.start()
        add(queue, exchanges[ENCODED_AT_ONCE * 2 :])
        added.set()
        thread.join(WAIT_S)
    assert [name for part in taken for name in ids_of(part)] == [exchange.id for exchange in exchanges]
    assert any(isinstance(item, EncodedBatch) for part in taken for item in part)
    assert queue.has_room(2)
