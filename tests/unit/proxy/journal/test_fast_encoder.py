"""What is worked out for a shape is bounded, whatever the lengths of the values that clients send; long values are not packed."""

import gc
import os
from typing import Any

import pytest

from proxy.config.journal import RedactionSettings
from proxy.http1.forwarding_headers import forwarding_block
from proxy.http1.head_cache import CachedRequestParser, CachedResponseParser
from proxy.journal.fast_encoder import FORMATS_MAX_BYTES, TEXT_MAX_BYTES, FastEncoder
from proxy.journal.redaction import keys_of, rules_of
from proxy.journal.served_exchange import ServedExchange
from tests.support.served_exchanges import CLIENT

FIELDS = "Host: a\r\n" + "".join([f"X-{number}: {'v' * 240}\r\n" for number in range(15)])


def packer() -> FastEncoder:
    return FastEncoder(rules_of(RedactionSettings()), keys_of(b"k" * 32), random_bytes=os.urandom)


def served(lengths: range) -> list[ServedExchange]:
    """Exchanges with a value of each of these lengths; the first only so that the others are recognised."""
    seen, answered = CachedRequestParser(), CachedResponseParser()
    drafts: list[ServedExchange] = []
    for length in (1, *lengths):
        head = seen.parse(f"GET / HTTP/1.1\r\n{FIELDS}Referer: {'r' * length}\r\n\r\n".encode(), fields_max=0)
        draft = ServedExchange(head, "id", 1, 0.0, 0)
        draft.added = forwarding_block(head, CLIENT)
        draft.response = answered.parse(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", method="GET")
        drafts.append(draft)
    return drafts[1:]


def characters(root: object) -> int:
    """All text that a plan holds on to."""
    found: dict[int, object] = {id(root): root}
    waiting = [root]
    while waiting:
        fresh: list[Any] = [one for one in gc.get_referents(waiting.pop()) if id(one) not in found]
        fresh = [one for one in fresh if isinstance(one, str | dict | list | tuple)]
        found.update((id(one), one) for one in fresh)
        waiting += fresh
    return sum(len(one) for one in found.values() if isinstance(one, str))


def test_encoding_templates_are_bounded_in_bytes() -> None:
    packs = packer()
    drafts = served(range(1, 200))
    assert all(packs.encode(draft) for draft in drafts)
    assert FORMATS_MAX_BYTES / 2 < characters(drafts[-1].head.template.journal_encoding) < FORMATS_MAX_BYTES * 2


@pytest.mark.parametrize(("length", "packed"), [(TEXT_MAX_BYTES, True), (TEXT_MAX_BYTES + 1, False)])
def test_value_longer_than_255_bytes_is_not_encoded_fast(length: int, packed: bool) -> None:
    [draft] = served(range(length, length + 1))
    assert (packer().encode(draft) is not None) is packed
