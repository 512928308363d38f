"""Each client gets the responses to its own requests, in order, however they are framed and cut."""

import asyncio
import random
from pathlib import Path

import pytest

from tests.support.proxy_lab import Message, RawClient, ScriptedBackend, proxy_lab

REQUESTS = 40


def request(number: int, chance: random.Random) -> bytes:
    """Return a request with its number in its target and its body."""
    body = f"body-{number}-".encode() * chance.randrange(1, 400)
    padding = "".join(f"X-{index}: {'y' * chance.randrange(60)}\r\n" for index in range(chance.randrange(8)))
    head = f"/{number} HTTP/1.1\r\nHost: a\r\n{padding}"
    match chance.randrange(4):
        case 0:
            return f"GET {head}\r\n".encode()
        case 1:
            return f"POST {head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        case 2:
            return f"POST {head}Content-Length: 0\r\n\r\n".encode()
        case _:
            return f"PUT {head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunked(body, chance)


def chunked(body: bytes, chance: random.Random) -> bytes:
    data = b""
    while body:
        size = chance.randrange(1, 700)
        data += b"%x\r\n%b\r\n" % (len(body[:size]), body[:size])
        body = body[size:]
    return data + b"0\r\n\r\n"


def response(seen: Message, chance: random.Random) -> bytes:
    """Return a response with the target and the body of the request, in random framing."""
    body = seen.line.split(" ")[1].encode() + b"|" + seen.body
    if chance.random() < 0.5:
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(body, chance)


async def send_in_pieces(client: RawClient, data: bytes, chance: random.Random) -> None:
    while data:
        size = chance.choice((1, 2, 3, 17, 500, 5000))
        await client.send(data[:size])
        data = data[size:]
        await asyncio.sleep(0)


async def converse(client: RawClient, seed: int) -> list[bytes]:
    """Pipeline all requests in odd pieces; return the bodies of the responses in order."""
    chance = random.Random(seed)
    data = b"".join(request(number, chance) for number in range(REQUESTS))
    async with asyncio.TaskGroup() as group:
        group.create_task(send_in_pieces(client, data, chance), name="send")
        responses = [await client.response() for _ in range(REQUESTS)]
    return [message.body for message in responses]


def expected(seed: int) -> list[tuple[bytes, bytes]]:
    """Return target and beginning of the body of each request."""
    chance = random.Random(seed)
    sent = [request(number, chance) for number in range(REQUESTS)]
    return [
        (f"/{number}".encode(), b"" if b"body-" not in data else f"body-{number}-".encode())
        for number, data in enumerate(sent)
    ]


@pytest.mark.parametrize("seed", range(4))
async def test_pipelined_requests_in_odd_pieces_get_their_own_responses(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    async with proxy_lab(tmp_path, candidate=ScriptedBackend(response=lambda seen: response(seen, chance))) as it:
        clients = [await it.client() for _ in range(4)]
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(converse(client, seed * 10 + number), name=f"client-{number}")
                for number, client in enumerate(clients)
            ]
        for number, task in enumerate(tasks):
            received = [tuple(body.split(b"|", 1)) for body in task.result()]
            sent = expected(seed * 10 + number)
            assert [target for target, _ in received] == [target for target, _ in sent]
            assert [body[: len(mark)] for (_, body), (_, mark) in zip(received, sent, strict=True)] == [
                mark for _, mark in sent
            ]
        assert it.proxy.state.metrics.refused == {}
        assert it.proxy.state.metrics.served == len(clients) * REQUESTS


async def test_garbage_neither_crashes_the_proxy_nor_reaches_a_backend(tmp_path: Path) -> None:
    chance = random.Random(5)
    async with proxy_lab(tmp_path) as it:
        for _ in range(150):
            client = await it.client()
            valid = bytearray(request(1, chance))
            for _ in range(chance.randrange(1, 6)):
                valid[chance.randrange(min(len(valid), 60))] = chance.randrange(256)
            await client.send(bytes(valid))
            client.writer.write_eof()
            received = await client.rest()
            assert received == b"" or received.startswith(b"HTTP/1.1 ")
        assert (await it.ask(b"GET /fine HTTP/1.1\r\nHost: a\r\n\r\n")).status == 200
        assert not it.proxy.state.connections.requests
