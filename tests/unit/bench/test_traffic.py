"""The benchmark's requests and responses are well-formed, and all different."""

from functools import cache
from itertools import pairwise

import pytest

from bench.load.requests import Requests, due_times
from bench.load.responses import responses


@cache
def traffic() -> list[bytes]:
    supply = Requests(7)
    return [supply.next() for _ in range(10_000)]


def taken(count: int) -> list[bytes]:
    return traffic()[:count]


def test_ten_thousand_requests_have_different_addresses() -> None:
    assert len({request.split()[1] for request in taken(10_000)}) == 10_000


@pytest.mark.parametrize("name", [b"x-api-key", b"x-request-id", b"traceparent", b"cookie"])
def test_ten_thousand_requests_have_different_secrets_and_ids(name: bytes) -> None:
    lines = b"".join(taken(10_000)).lower().split(b"\r\n")
    values = [line for line in lines if line.startswith(name)]
    assert len(values) > 1_000
    assert len(set(values)) == len(values)


def test_every_request_is_one_complete_head() -> None:
    assert all(request.endswith(b"\r\n\r\n") and request.count(b"\r\n\r\n") == 1 for request in taken(2_000))


def test_every_placeholder_is_filled() -> None:
    assert all(b"%" not in request for request in taken(2_000))


def test_address_has_forty_digits() -> None:
    assert all(len(request.split()[1].rpartition(b"0x")[2]) == 40 for request in taken(100))


def test_field_order_differs_between_requests() -> None:
    orders = {tuple(line.partition(b":")[0].lower() for line in r.split(b"\r\n")[1:-2]) for r in taken(2_000)}
    assert len(orders) > 100


def test_responses_have_their_content_length() -> None:
    assert all(f"Content-Length: {len(body)}".encode() in head for head, body in parted())


def test_responses_have_twenty_stamps_and_about_2500_bytes() -> None:
    assert all(body.count(b"expiration_date") == 20 and 2_300 < len(body) < 2_600 for _, body in parted())


def test_all_responses_differ() -> None:
    assert len(set(responses(1))) == len(responses(1))


def test_requests_are_due_in_order_one_per_slot() -> None:
    due = due_times(300, rate=300, seed=1)
    assert all(a < b for a, b in pairwise(due))
    assert all(slot / 300 <= at < (slot + 1) / 300 for slot, at in enumerate(due))


@cache
def parted() -> list[tuple[bytes, bytes]]:
    return [(head, body) for head, _, body in (response.partition(b"\r\n\r\n") for response in responses(1))]
