"""What waits for the writer comes out whole and in order, however it was added."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from proxy.config.journal import JournalSettings, RedactionSettings
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
from proxy.journal.redaction import keys_of, rules_of
from proxy.journal.served_exchange import ServedExchange
from tests.support.served_exchanges import ServedExchanges

PACKER = FastEncoder(rules_of(RedactionSettings()), keys_of(b"k" * 32), random_bytes=os.urandom)
WAIT_S = 60
"""Only so that a hang ends."""


def add(waiting: WriteQueue, drafts: list[ServedExchange]) -> None:
    for draft in drafts:
        waiting.add_served(draft, len(draft.response_body.body), PACKER)


def parts_of(taken: list[EncodedBatch] | list[QueueEntry]) -> list[list[str]]:
    """The names of what was taken at once, frame by frame."""
    bundled = [[record.id for record in decode_payload(one.payload)] for one in taken if isinstance(one, EncodedBatch)]
    others = [entry.id for entry in taken if not isinstance(entry, EncodedBatch)]
    return [*bundled, others] if others else bundled


def names_of(taken: list[EncodedBatch] | list[QueueEntry]) -> list[str]:
    return [name for part in parts_of(taken) for name in part]


def drained(waiting: WriteQueue) -> list[list[str]]:
    """The names of all that waits, as it is taken."""
    taken: list[list[str]] = []
    while waiting:
        taken += parts_of(waiting.take())
    return taken


def numbers(*sizes: int) -> list[list[str]]:
    """So many names a part, counted on."""
    ends = [sum(sizes[: place + 1]) for place in range(len(sizes))]
    return [[str(number) for number in range(end - size, end)] for size, end in zip(sizes, ends, strict=True)]


def with_one_of_its_own(place: int, *, count: int) -> list[ServedExchange]:
    """Exchanges one of which cannot be packed: its target has a query."""
    serving = ServedExchanges()
    drafts = serving.exchanges(range(count))
    drafts[place] = serving.exchange(str(place), target="/v2/stamps?x=1")
    return drafts


def test_served_exchanges_are_taken_as_batches_and_a_remainder() -> None:
    waiting = WriteQueue(JournalSettings())
    add(waiting, ServedExchanges().exchanges(range(ENCODED_AT_ONCE * 2 + 5)))
    assert drained(waiting) == numbers(ENCODED_AT_ONCE, ENCODED_AT_ONCE, 5)
    assert not waiting


def test_records_and_large_exchanges_keep_their_order() -> None:
    serving, waiting = ServedExchanges(), WriteQueue(JournalSettings())
    add(waiting, serving.exchanges(range(ENCODED_AT_ONCE + 3)))
    waiting.add(serving.exchange("record").record(), 2)
    add(waiting, [serving.exchange("large", body=b"x" * (LOOP_ENCODED_MAX_BYTES + 1)), *serving.exchanges(["after"])])
    expected = [str(number) for number in range(ENCODED_AT_ONCE + 3)] + ["record", "large", "after"]
    assert [name for part in drained(waiting) for name in part] == expected


def test_exchanges_taken_early_are_not_in_the_next_batch() -> None:
    serving, waiting = ServedExchanges(), WriteQueue(JournalSettings())
    add(waiting, serving.exchanges(range(5)))
    first = names_of(waiting.take())
    add(waiting, serving.exchanges(range(5, 5 + ENCODED_AT_ONCE)))
    assert [first, *drained(waiting)] == numbers(5, ENCODED_AT_ONCE)


@pytest.mark.parametrize("place", [0, 13, ENCODED_AT_ONCE - 1])
def test_exchange_that_cannot_be_encoded_fast_leaves_its_batch_to_the_thread_in_order(place: int) -> None:
    waiting = WriteQueue(JournalSettings())
    add(waiting, with_one_of_its_own(place, count=ENCODED_AT_ONCE * 2))
    taken = [waiting.take(), waiting.take()]
    assert [isinstance(part[0], EncodedBatch) for part in taken] == [False, True]
    assert [names_of(part) for part in taken] == numbers(ENCODED_AT_ONCE, ENCODED_AT_ONCE)


def test_exchange_that_cannot_be_encoded_leaves_its_batch_to_the_thread() -> None:
    serving, waiting = ServedExchanges(), WriteQueue(JournalSettings())
    add(waiting, [serving.exchange("0", key="\ud800"), *serving.exchanges(range(1, ENCODED_AT_ONCE))])
    taken = waiting.take()
    assert not any(isinstance(one, EncodedBatch) for one in taken)
    assert names_of(taken) == numbers(ENCODED_AT_ONCE)[0]


def test_unencoded_exchanges_are_taken_up_to_batch_max() -> None:
    waiting = WriteQueue(JournalSettings(batch_max=20))
    add(waiting, with_one_of_its_own(0, count=ENCODED_AT_ONCE))
    assert drained(waiting) == numbers(20, ENCODED_AT_ONCE - 20)


def test_large_exchanges_are_taken_in_small_batches() -> None:
    serving, waiting = ServedExchanges(), WriteQueue(JournalSettings())
    add(waiting, [serving.exchange(str(number), body=b"x" * (FRAME_BODIES_MAX_BYTES // 2)) for number in range(4)])
    assert drained(waiting) == numbers(2, 2)


@pytest.mark.parametrize("count", [1, ENCODED_AT_ONCE, ENCODED_AT_ONCE + 1])
def test_queue_is_bounded_by_exchanges(count: int) -> None:
    waiting = WriteQueue(JournalSettings(queue_max=count))
    drafts = ServedExchanges().exchanges(range(count))
    add(waiting, drafts[:-1])
    assert waiting.has_room(2)
    add(waiting, drafts[-1:])
    assert not waiting.has_room(2)
    waiting.take()
    assert waiting.has_room(2)


@pytest.mark.parametrize("count", [1, ENCODED_AT_ONCE, ENCODED_AT_ONCE + 1])
def test_queue_is_bounded_by_bytes(count: int) -> None:
    weight = 2 + RECORD_OVERHEAD_BYTES
    waiting = WriteQueue(JournalSettings(queue_max_bytes=count * weight))
    add(waiting, ServedExchanges().exchanges(range(count - 1)))
    assert waiting.has_room(2)
    assert not waiting.has_room(3)


@pytest.mark.parametrize("place", [0, ENCODED_AT_ONCE, ENCODED_AT_ONCE * 2 + 1])
def test_taking_everything_frees_all_room(place: int) -> None:
    """(one exchange is all the room there is, and adding does not ask for room)"""
    waiting = WriteQueue(JournalSettings(queue_max=1, queue_max_bytes=2 + RECORD_OVERHEAD_BYTES))
    drafts = with_one_of_its_own(place, count=ENCODED_AT_ONCE * 2 + 2)
    add(waiting, drafts)
    waiting.add(drafts[0].record(), LOOP_ENCODED_MAX_BYTES)
    drained(waiting)
    assert waiting.has_room(2)
    assert not waiting.has_room(3)
    add(waiting, drafts[1:2])
    assert not waiting.has_room(0)


@contextmanager
def threads_that_take_turns_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def of_each_kind(count: int) -> list[ServedExchange]:
    """Exchanges some of which are packed, some cannot be, and some are large."""
    serving = ServedExchanges()
    kinds = [
        serving.exchange(""),
        serving.exchange("", target="/v2/stamps?x=1"),
        serving.exchange("", body=b"x" * (LOOP_ENCODED_MAX_BYTES + 1)),
    ]
    drafts: list[ServedExchange] = []
    for number in range(count):
        kind = kinds[1 if number % 997 == 0 else 2 if number % 211 == 0 else 0]
        draft = ServedExchange(kind.head, str(number), 1, 0.0, 0)
        draft.response, draft.response_body, draft.added = kind.response, kind.response_body, kind.added
        drafts.append(draft)
    return drafts


def test_concurrent_add_and_take_lose_duplicate_and_reorder_nothing() -> None:
    drafts = of_each_kind(20_000)
    waiting = WriteQueue(JournalSettings(queue_max=1, queue_max_bytes=2 + RECORD_OVERHEAD_BYTES))
    taken: list[list[EncodedBatch] | list[QueueEntry]] = []
    added = threading.Event()

    def take() -> None:
        while not added.is_set() or waiting:
            if part := waiting.take():
                taken.append(part)

    add(waiting, drafts[: ENCODED_AT_ONCE * 2])
    thread = threading.Thread(target=take)
    with threads_that_take_turns_often():
        thread.start()
        add(waiting, drafts[ENCODED_AT_ONCE * 2 :])
        added.set()
        thread.join(WAIT_S)
    assert [name for part in taken for name in names_of(part)] == [draft.id for draft in drafts]
    assert any(isinstance(one, EncodedBatch) for part in taken for one in part)
    assert waiting.has_room(2)
