"""Requests that two servers could read in two ways are refused, and limits have their status codes."""

from pathlib import Path

import pytest

from tests.support.proxying import Backend, lab, ok

HOST = b"Host: a\r\n"
MALFORMED = {
    "length and chunks": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcd",
    "two equal lengths": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nabcd",
    "a list of lengths": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4, 4\r\n\r\nabcd",
    "a signed length": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +4\r\n\r\nabcd",
    "a negative length": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    "a hexadecimal length": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x4\r\n\r\nabcd",
    "an empty length": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n",
    "an endless length": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1" + b"0" * 30 + b"\r\n\r\n",
    "a length with an underscore": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1_0\r\n\r\n",
    "a length of other digits": "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ²\r\n\r\n".encode("latin-1"),
    "chunked twice": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "two codings": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "chunked not last": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "an obscured coding": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a quoted coding": b'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "a coding with a vertical tab": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a folded field": b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n",
    "a field folded by a tab": b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n\t2\r\n\r\n",
    "a first field that is folded": b"GET / HTTP/1.1\r\n X: 1\r\nHost: a\r\n\r\n",
    "a space before the colon": b"GET / HTTP/1.1\r\nHost: a\r\nX : 1\r\n\r\n",
    "a space before the length's colon": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 1\r\n\r\na",
    "a bare CR in a value": b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\rY: 2\r\n\r\n",
    "a bare LF between fields": b"GET / HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n",
    "only bare LFs": b"GET / HTTP/1.1\nHost: a\n\n",
    "a NUL in a value": b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\x002\r\n\r\n",
    "a NUL in a name": b"GET / HTTP/1.1\r\nHost: a\r\nX\x00: 1\r\n\r\n",
    "an empty name": b"GET / HTTP/1.1\r\nHost: a\r\n: 1\r\n\r\n",
    "a line without a colon": b"GET / HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n",
    "no Host": b"GET / HTTP/1.1\r\nX: 1\r\n\r\n",
    "two Hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "a Host with a path": b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "a Host with user information": b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
    "two spaces in the request line": b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
    "a tab in the request line": b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "a space in the target": b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
    "a fragment in the target": b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",
    "a relative target": b"GET a HTTP/1.1\r\nHost: a\r\n\r\n",
    "an authority target": b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n",
    "a method that is no token": b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n",
    "a lower-case protocol": b"GET / http/1.1\r\nHost: a\r\n\r\n",
    "no protocol": b"GET /\r\n\r\n",
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "a chunk size that is no number": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a chunk size with a prefix": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n",
    "a negative chunk size": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\na\r\n0\r\n\r\n",
    "a chunk longer than its size": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
    "a chunk size ended by LF": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;x\ny\r\na\r\n0\r\n\r\n",
    "a huge chunk size": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 17 + b"\r\n",
    "a trailer that is no field": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nno field\r\n\r\n",
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
async def test_a_malformed_request_is_refused_and_its_connection_closed(tmp_path: Path, data: bytes) -> None:
    async with lab(tmp_path) as it:
        caller = await it.caller()
        await caller.send(data + b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
        received = await caller.rest()
        assert received.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert received.count(b"HTTP/1.1 ") == 1
        assert [seen.line for seen in it.candidate.seen] == []


LIMITED = {
    "a large header": (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 3000 + b"\r\n\r\n", 431),
    "a large header that never ends": (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 3000, 431),
    "many fields": (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: 1\r\n" * 20 + b"\r\n", 431),
    "a long target": (b"GET /" + b"x" * 600 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    "a long target that never ends": (b"GET /" + b"x" * 600, 414),
    "a large body": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000\r\n\r\n", 413),
    "a large body that expects": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000\r\nExpect: 100-continue\r\n\r\n",
        413,
    ),
    "a large chunked body": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n" + b"x" * 2000 + b"\r\n0\r\n\r\n",
        413,
    ),
    "another expectation": (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: miracles\r\n\r\n", 417),
    "an unknown coding": (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    "another version": (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
}


@pytest.mark.parametrize(("data", "status"), LIMITED.values(), ids=LIMITED.keys())
async def test_a_limit_has_its_status(tmp_path: Path, data: bytes, status: int) -> None:
    limits = {"header_max_bytes": 2048, "headers_max": 16, "target_max_bytes": 512, "body_max_bytes": 1000}
    async with lab(tmp_path, limits=limits) as it:
        reply = await it.ask(data)
        assert reply.status == status
        assert it.proxy.front.metrics.refused == {status: 1}


@pytest.mark.parametrize(
    "data",
    [b"GET / HT", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab"],
    ids=["slow header", "slow body"],
)
async def test_a_slow_request_times_out(tmp_path: Path, data: bytes) -> None:
    async with lab(tmp_path, limits={"header_s": 0.2, "body_idle_s": 0.2}) as it:
        assert (await it.ask(data)).status == 408


async def test_an_unused_connection_is_closed_without_a_word(tmp_path: Path) -> None:
    async with lab(tmp_path, limits={"idle_s": 0.2}) as it:
        caller = await it.caller()
        assert await caller.rest() == b""


async def test_connections_above_the_limit_are_refused(tmp_path: Path) -> None:
    async with lab(tmp_path, limits={"connections_max": 1}) as it:
        first = await it.caller()
        await first.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        second = await it.caller()
        assert (await second.reply()).status == 503
        assert (await first.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")).status == 200


async def test_an_empty_line_before_a_request_is_skipped(tmp_path: Path) -> None:
    async with lab(tmp_path) as it:
        assert (await it.ask(b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")).status == 200


REPLIES = {
    "garbage": b"garbage\r\n\r\n",
    "length and chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
    "a folded field": b"HTTP/1.1 200 OK\r\nX: 1\r\n 2\r\nContent-Length: 0\r\n\r\n",
    "an unasked switch": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    "an endless head": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,
    "another version": b"HTTP/2.0 200 OK\r\n\r\n",
}


@pytest.mark.parametrize("data", REPLIES.values(), ids=REPLIES.keys())
async def test_a_malformed_reply_is_a_502_and_does_not_reach_the_next_request(tmp_path: Path, data: bytes) -> None:
    replies = iter([data, ok(b"fine")])
    async with lab(tmp_path, candidate=Backend(reply=lambda _: next(replies))) as it:
        caller = await it.caller()
        assert (await caller.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")).status == 502
        assert (await caller.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")).body == b"fine"
        assert it.candidate.connections == 2


async def test_bytes_after_a_reply_are_never_taken_for_the_next_one(tmp_path: Path) -> None:
    replies = iter([ok(b"one") + ok(b"poison"), ok(b"two")])
    async with lab(tmp_path, candidate=Backend(reply=lambda _: next(replies))) as it:
        caller = await it.caller()
        assert (await caller.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")).body == b"one"
        assert (await caller.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")).body == b"two"
