"""The benchmark client recognizes the end of a response at any fragmentation."""

import asyncio

import pytest

from bench.load.clients import Client

LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
EMPTY = b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n"


class Silent(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent.append(bytes(data))


class Noting:
    """Records the status at each call; 0 when the connection opens."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.lost_count = 0

    def ready(self, client: Client) -> None:
        self.statuses.append(client.status)

    def lost(self, client: Client) -> None:
        self.lost_count += 1


def connected() -> tuple[Client, Noting, Silent]:
    noting, silent = Noting(), Silent()
    client = Client(noting)
    client.connection_made(silent)
    return client, noting, silent


@pytest.mark.parametrize("response", [LENGTH, CHUNKED, EMPTY], ids=["length", "chunked", "empty"])
@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_response_is_complete_once_at_any_fragmentation(response: bytes, size: int) -> None:
    client, noting, _ = connected()
    for start in range(0, len(response), size):
        client.data_received(response[start : start + size])
    assert noting.statuses == [0, int(response[9:12])]


def test_responses_follow_each_other_on_one_connection() -> None:
    client, noting, _ = connected()
    for response in (CHUNKED, LENGTH, EMPTY, CHUNKED):
        client.data_received(response)
    assert noting.statuses == [0, 200, 200, 503, 200]


def test_half_a_response_is_not_complete() -> None:
    client, noting, _ = connected()
    client.data_received(LENGTH[:-1])
    assert noting.statuses == [0]


def test_request_is_written_unchanged() -> None:
    client, _, silent = connected()
    client.send(b"GET / HTTP/1.1\r\n\r\n", 1.5)
    assert (silent.sent, client.due_s) == ([b"GET / HTTP/1.1\r\n\r\n"], 1.5)


def test_listener_is_notified_of_a_lost_connection() -> None:
    client, noting, _ = connected()
    client.connection_lost(None)
    assert noting.lost_count == 1
