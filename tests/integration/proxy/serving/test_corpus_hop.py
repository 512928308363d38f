"""Duties of an intermediary by RFC 9110 and 9112, beyond parsing: Date, Max-Forwards, Upgrade, Via, the close."""

import os
import re
from pathlib import Path

import pytest

from tests.support.proxy_lab import Message, ScriptedBackend, ok, proxy_lab

DATE = re.compile(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT")


async def arrived(tmp_path: Path, request: bytes) -> Message:
    """Send a request and return it as the backend receives it."""
    async with proxy_lab(tmp_path) as it:
        await it.ask(request)
    return it.candidate.seen[0]


async def test_response_without_a_date_gets_one(tmp_path: Path) -> None:
    # RFC 9110 section 6.6.1: a recipient that forwards it MUST append the time it was received.
    async with proxy_lab(tmp_path) as it:
        response = await it.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert DATE.fullmatch(response.get("date") or "")


async def test_response_keeps_its_date(tmp_path: Path) -> None:
    date = "Sun, 06 Nov 1994 08:49:37 GMT"
    async with proxy_lab(tmp_path, candidate=ScriptedBackend(response=lambda _: ok(b"", f"Date: {date}"))) as it:
        response = await it.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert response.all("date") == [date]


async def test_refusal_has_a_date(tmp_path: Path) -> None:
    # RFC 9110 section 6.6.1: a MUST for 4xx of a server with a clock.
    async with proxy_lab(tmp_path) as it:
        response = await it.ask(b"GET / HTTP/1.1\r\n\r\n")
    assert DATE.fullmatch(response.get("date") or "")


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE"])
async def test_max_forwards_of_zero_is_answered_by_the_proxy(tmp_path: Path, method: str) -> None:
    # RFC 9110 section 7.6.2: at 0 it MUST NOT be forwarded.
    async with proxy_lab(tmp_path) as it:
        await it.ask(f"{method} / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n".encode())
    assert it.candidate.seen == []


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE"])
async def test_max_forwards_is_decremented(tmp_path: Path, method: str) -> None:
    # RFC 9110 section 7.6.2: MUST be updated.
    seen = await arrived(tmp_path, f"{method} / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 3\r\n\r\n".encode())
    assert seen.all("max-forwards") == ["2"]


async def test_max_forwards_is_ignored_for_other_methods(tmp_path: Path) -> None:
    seen = await arrived(tmp_path, b"GET / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n")
    assert seen.all("max-forwards") == ["0"]


async def test_upgrade_of_http_1_0_is_ignored(tmp_path: Path) -> None:
    # RFC 9110 section 7.8: MUST be ignored.
    seen = await arrived(tmp_path, b"GET / HTTP/1.0\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert (seen.get("connection"), seen.get("upgrade")) == (None, None)


async def test_connection_option_that_contains_upgrade_is_not_upgrade(tmp_path: Path) -> None:
    # RFC 9110 section 7.6.1: Connection is a list of tokens.
    seen = await arrived(tmp_path, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: x-upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert (seen.get("connection"), seen.get("upgrade")) == (None, None)


@pytest.mark.parametrize("minor", [0, 1])
async def test_via_names_the_version_of_the_request(tmp_path: Path, minor: int) -> None:
    # RFC 9110 section 7.6.3: received-protocol.
    seen = await arrived(tmp_path, f"GET / HTTP/1.{minor}\r\nHost: a\r\n\r\n".encode())
    assert seen.all("via") == [f"1.{minor} shadow"]


async def test_bytes_after_the_last_request_do_not_lose_its_response(tmp_path: Path) -> None:
    # RFC 9112 section 9.6: closing at once resets the connection of a client that is still sending.
    async with proxy_lab(tmp_path) as it:
        client = await it.client()
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert (await client.rest()).startswith(b"HTTP/1.1 200 OK\r\n")
        sending = client.writer.get_extra_info("socket").fileno()
        assert [os.write(sending, b"more") for _ in range(3)] == [4, 4, 4]


async def test_requests_pipelined_before_the_half_close_are_answered(tmp_path: Path) -> None:
    async with proxy_lab(tmp_path) as it:
        client = await it.client()
        client.writer.write(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET /3 HT")
        client.writer.write_eof()
        responses = await client.rest()
        assert responses.count(b"HTTP/1.1 200 OK\r\n") == 2
        assert [message.line for message in it.candidate.seen] == ["GET /1 HTTP/1.1", "GET /2 HTTP/1.1"]


async def test_options_answered_by_the_proxy_is_counted_and_closes(tmp_path: Path) -> None:
    async with proxy_lab(tmp_path) as it:
        client = await it.client()
        await client.send(b"OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\nX-Request-Id: mine\r\n\r\n")
        response = await client.rest()
        assert response.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"X-Request-Id: mine\r\n" in response
        assert it.proxy.state.metrics.refused[200] == 1
