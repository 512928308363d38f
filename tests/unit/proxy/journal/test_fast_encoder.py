"""The memory of encoding templates is bounded for any lengths of values; long values are not encoded fast."""

import gc
from typing import Any

import pytest

from proxy.http1.forwarding_headers import forwarding_block
from proxy.http1.head_cache import CachedRequestParser, CachedResponseParser
from proxy.journal.fast_encoder import FORMATS_MAX_BYTES, TEXT_MAX_BYTES, FastEncoder
from proxy.journal.served_exchange import ServedExchange
from tests.support.served_exchanges import CLIENT

FIELDS = "Host: a\r\n" + "".join([f"X-{number}: {'v' * 240}\r\n" for number in range(15)])


def served(lengths: range) -> list[ServedExchange]:
    """Return exchanges with a value of each of these lengths, their heads cached."""
    requests, responses = CachedRequestParser(), CachedResponseParser()
    exchanges: list[ServedExchange] = []
    for length in (1, *lengths):
        head = requests.parse(f"GET / HTTP/1.1\r\n{FIELDS}Referer: {'r' * length}\r\n\r\n".encode(), fields_max=0)
        exchange = ServedExchange(head, "id", 1, 0.0, 0)
        exchange.added = forwarding_block(head, CLIENT)
        exchange.response = responses.parse(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", method="GET")
        exchanges.append(exchange)
    return exchanges[1:]


def characters(root: object) -> int:
    """Count the characters that an encoding template references."""
    visited: dict[int, object] = {id(root): root}
    pending = [root]
    while pending:
        children: list[Any] = [child for child in gc.get_referents(pending.pop()) if id(child) not in visited]
        children = [child for child in children if isinstance(child, str | dict | list | tuple)]
        visited.update((id(child), child) for child in children)
        pending += children
    return sum(len(node) for node in visited.values() if isinstance(node, str))


def test_encoding_templates_are_bounded_in_bytes() -> None:
    fast_encoder = FastEncoder()
    exchanges = served(range(1, 200))
    assert all(fast_encoder.encode(exchange) for exchange in exchanges)
    assert FORMATS_MAX_BYTES / 2 < characters(exchanges[-1].head.template.journal_encoding) < FORMATS_MAX_BYTES * 2


@pytest.mark.parametrize(("length", "encoded"), [(TEXT_MAX_BYTES, True), (TEXT_MAX_BYTES + 1, False)])
def test_value_longer_than_255_bytes_is_not_encoded_fast(length: int, encoded: bool) -> None:
    [exchange] = served(range(length, length + 1))
    assert (FastEncoder().encode(exchange) is not None) is encoded
