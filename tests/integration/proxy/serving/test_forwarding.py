"""Messages that the proxy forwards, byte by byte."""

import asyncio
import re
import time
from pathlib import Path

import pytest
from aiohttp import ClientSession
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from comparator.exchanges.model import Response
from tests.support.proxy_lab import ScriptedBackend, ok, proxy_lab, read_message

GET = b"GET /v2/stamps/3/score/0xAb HTTP/1.1\r\nHost: api.example\r\n\r\n"


def get(path: str = "/v2/stamps/3/score/0xAb", *fields: str, method: str = "GET", body: bytes = b"") -> bytes:
    lines = "".join(f"{line}\r\n" for line in fields)
    return f"{method} {path} HTTP/1.1\r\nHost: api.example\r\n{lines}\r\n".encode("latin-1") + body


async def test_path_and_query_are_forwarded_byte_for_byte(tmp_path: Path) -> None:
    target = "/a%2Fb/../c;x=1/%zz//?q=%20+&&é=|<>'"
    async with proxy_lab(tmp_path) as it:
        await it.ask(get(target))
        assert it.candidate.seen[0].line == f"GET {target} HTTP/1.1"


async def test_fields_keep_order_case_and_duplicates(tmp_path: Path) -> None:
    async with proxy_lab(tmp_path) as it:
        await it.ask(get("/", "X-B: 1", "x-a:  padded\t", "X-B: 2", "X-Empty:"))
        passed = [field for field in it.candidate.seen[0].fields if field[0].lower() in ("x-a", "x-b", "x-empty")]
        assert passed == [("X-B", "1"), ("x-a", "padded"), ("X-B", "2"), ("X-Empty", "")]


async def test_hop_by_hop_fields_are_stripped_with_those_that_connection_names(tmp_path: Path) -> None:
    fields = ("Connection: keep-alive, X-Secret-Hop", "X-Secret-Hop: 1", "Keep-Alive: timeout=5", "TE: trailers")
    async with proxy_lab(tmp_path) as it:
        await it.ask(
            get("/", *fields, "Proxy-Authorization: Basic x", "Trailer: X", "Proxy-Connection: close", "X-End: 1")
        )
        names = {name.lower() for name, _ in it.candidate.seen[0].fields}
        assert names.isdisjoint(
            {"connection", "x-secret-hop", "keep-alive", "te", "proxy-authorization", "trailer", "proxy-connection"}
        )
        assert "x-end" in names


async def test_hop_by_hop_fields_of_the_response_are_stripped(tmp_path: Path) -> None:
    backend = ScriptedBackend(
        response=lambda _: ok(b"ok", "Connection: X-Hop", "X-Hop: 1", "Keep-Alive: timeout=1", "X-End: 1")
    )
    async with proxy_lab(tmp_path, candidate=backend) as it:
        response = await it.ask(GET)
        assert response.get("x-hop") is None
        assert response.get("keep-alive") is None
        assert response.get("x-end") == "1"


async def test_forwarding_fields_name_the_client(tmp_path: Path) -> None:
    async with proxy_lab(tmp_path) as it:
        await it.ask(get())
        seen = it.candidate.seen[0]
        assert seen.get("x-forwarded-for") == "127.0.0.1"
        assert seen.get("x-forwarded-proto") == "http"
        assert seen.get("x-forwarded-host") == "api.example"
        assert seen.get("forwarded") == "for=127.0.0.1;host=api.example;proto=http"
        assert seen.get("via") == "1.1 shadow"


async def test_forwarding_fields_of_an_untrusted_client_are_replaced(tmp_path: Path) -> None:
    async with proxy_lab(tmp_path) as it:
        await it.ask(get("/", "X-Forwarded-For: 9.9.9.9", "X-Forwarded-Proto: https", "Forwarded: for=9.9.9.9"))
        seen = it.candidate.seen[0]
        assert seen.all("x-forwarded-for") == ["127.0.0.1"]
        assert seen.all("x-forwarded-proto") == ["http"]
        assert "9.9.9.9" not in str(seen.fields)


async def test_forwarding_fields_of_a_trusted_client_are_continued(tmp_path: Path) -> None:
    async with proxy_lab(tmp_path, listen={"trusted_networks": ["127.0.0.0/8"]}) as it:
        await it.ask(get("/", "X-Forwarded-For: 9.9.9.9", "X-Forwarded-For: 8.8.8.8", "X-Forwarded-Proto: https"))
        seen = it.candidate.seen[0]
        assert seen.all("x-forwarded-for") == ["9.9.9.9, 8.8.8.8, 127.0.0.1"]
        assert seen.get("x-forwarded-proto") == "https"


async def test_valid_request_id_is_kept_and_returned(tmp_path: Path) -> None:
    async with proxy_lab(tmp_path) as it:
        response = await it.ask(get("/", "X-Request-Id: abc-1"))
        assert it.candidate.seen[0].all("x-request-id") == ["abc-1"]
        assert response.get("x-request-id") == "abc-1"


@pytest.mark.parametrize("given", ["", "with space", "x" * 129, "umlaut-\xe4"])
async def test_invalid_request_id_is_replaced(tmp_path: Path, given: str) -> None:
    async with proxy_lab(tmp_path) as it:
        await it.ask(get("/", f"X-Request-Id: {given}"))
        assert re.fullmatch("[0-9a-f]{32}", it.candidate.seen[0].get("x-request-id") or "")


async def test_trace_is_continued_in_a_new_span(tmp_path: Path) -> None:
    async with proxy_lab(tmp_path) as it:
        await it.ask(get("/", f"traceparent: 00-{'a' * 32}-{'b' * 16}-01"))
        match = re.fullmatch(f"00-{'a' * 32}-([0-9a-f]{{16}})-01", it.candidate.seen[0].get("traceparent") or "")
        assert match
        assert match.group(1) != "b" * 16


@pytest.mark.parametrize(("flags", "expected"), [("01", ["a" * 32]), ("00", []), (None, [])])
async def test_only_a_client_s_sampled_trace_is_an_exemplar(
    tmp_path: Path, flags: str | None, expected: list[str]
) -> None:
    async with proxy_lab(tmp_path) as it:
        await it.ask(get("/", *([f"traceparent: 00-{'a' * 32}-{'b' * 16}-{flags}"] if flags is not None else [])))
        await it.until(lambda: it.proxy.state.metrics.served == 1)
        accept = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"}
        url = f"http://127.0.0.1:{it.proxy.admin_port}/metrics"
        async with ClientSession() as session, session.get(url, headers=accept) as response:
            families = text_string_to_metric_families(await response.text())
            samples = [sample for family in families for sample in family.samples]
        assert [s.exemplar.labels["trace_id"] for s in samples if s.exemplar is not None] == expected


@pytest.mark.parametrize("given", ["rubbish", f"00-{'0' * 32}-{'b' * 16}-01", f"ff-{'a' * 32}-{'b' * 16}-01"])
async def test_invalid_trace_is_replaced(tmp_path: Path, given: str) -> None:
    async with proxy_lab(tmp_path) as it:
        await it.ask(get("/", f"traceparent: {given}"))
        traceparent = it.candidate.seen[0].get("traceparent") or ""
        assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-01", traceparent)
        assert "a" * 32 not in traceparent


async def test_host_is_the_clients_unless_configured(tmp_path: Path) -> None:
    async with proxy_lab(tmp_path) as it:
        await it.ask(get())
        assert it.candidate.seen[0].all("host") == ["api.example"]


async def test_host_can_be_the_backends(tmp_path: Path) -> None:
    backend = ScriptedBackend()
    async with proxy_lab(tmp_path, candidate=backend) as it:
        url = f"http://127.0.0.1:{backend.port}/base"
        own = {"live": {"url": url, "host": "backend"}}
        async with proxy_lab(tmp_path / "2", backends={"candidate": own}) as other:
            await other.ask(get("/x"))
        assert it.candidate.seen[0].all("host") == [f"127.0.0.1:{backend.port}"]
        assert it.candidate.seen[0].line == "GET /base/x HTTP/1.1"


async def test_absolute_target_becomes_origin_form(tmp_path: Path) -> None:
    async with proxy_lab(tmp_path) as it:
        await it.ask(b"GET http://other.example:81/p?q HTTP/1.1\r\nHost: api.example\r\n\r\n")
        assert it.candidate.seen[0].line == "GET /p?q HTTP/1.1"
        assert it.candidate.seen[0].get("x-forwarded-host") == "other.example:81"


async def test_body_with_a_length_is_forwarded(tmp_path: Path) -> None:
    body = bytes(range(256)) * 1000
    async with proxy_lab(tmp_path) as it:
        response = await it.ask(get("/", f"Content-Length: {len(body)}", method="POST", body=body))
        assert response.status == 200
        assert it.candidate.seen[0].body == body


async def test_chunked_body_is_forwarded_without_trailers(tmp_path: Path) -> None:
    body = b"5;ext=1\r\nhello\r\n1\r\n!\r\n0\r\nX-Trailer: 1\r\n\r\n"
    async with proxy_lab(tmp_path) as it:
        response = await it.ask(get("/", "Transfer-Encoding: chunked", method="POST", body=body))
        assert response.status == 200
        assert it.candidate.seen[0].body == b"hello!"


async def test_body_that_arrives_byte_by_byte_is_forwarded(tmp_path: Path) -> None:
    async with proxy_lab(tmp_path) as it:
        client = await it.client()
        data = get("/", "Transfer-Encoding: chunked", method="POST", body=b"3\r\nabc\r\n0\r\n\r\n")
        for index in range(len(data)):
            await client.send(data[index : index + 1])
        assert (await client.response()).status == 200
        assert it.candidate.seen[0].body == b"abc"


async def test_expect_continue_is_answered_by_the_proxy(tmp_path: Path) -> None:
    async with proxy_lab(tmp_path) as it:
        client = await it.client()
        interim = await client.ask(get("/", "Expect: 100-continue", "Content-Length: 2", method="POST"))
        assert interim.line == "HTTP/1.1 100 Continue"
        assert (await client.ask(b"hi")).status == 200
        assert it.candidate.seen[0].get("expect") is None
        assert it.candidate.seen[0].body == b"hi"


async def test_head_has_the_length_and_no_body(tmp_path: Path) -> None:
    backend = ScriptedBackend(response=lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    async with proxy_lab(tmp_path, candidate=backend) as it:
        client = await it.client()
        response = await client.ask(get(method="HEAD"), method="HEAD")
        assert response.get("content-length") == "5"
        assert (await client.ask(get(method="HEAD"), method="HEAD")).status == 200


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
async def test_bodiless_statuses_leave_the_connection_in_step(tmp_path: Path, status: str) -> None:
    backend = ScriptedBackend(response=lambda _: f"HTTP/1.1 {status}\r\nETag: x\r\n\r\n".encode())
    async with proxy_lab(tmp_path, candidate=backend) as it:
        client = await it.client()
        first, second = await client.ask(GET), await client.ask(GET)
        assert first.line == second.line == f"HTTP/1.1 {status}"
        assert backend.connections == 1


async def test_chunked_response_is_forwarded(tmp_path: Path) -> None:
    response = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n"
    async with proxy_lab(tmp_path, candidate=ScriptedBackend(response=lambda _: response)) as it:
        client = await it.client()
        assert (await client.ask(GET)).body == b"hello"
        assert (await client.ask(GET)).body == b"hello"


async def test_response_that_ends_with_its_connection_becomes_chunked(tmp_path: Path) -> None:
    async def until_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_message(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nall of it")

    async with proxy_lab(tmp_path, candidate=ScriptedBackend(handler=until_close)) as it:
        client = await it.client()
        first = await client.ask(GET)
        assert (first.get("transfer-encoding"), first.body) == ("chunked", b"all of it")
        assert (await client.ask(GET)).body == b"all of it"


async def test_http_1_0_client_gets_no_chunks_and_its_connection_closed(tmp_path: Path) -> None:
    response = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    async with proxy_lab(tmp_path, candidate=ScriptedBackend(response=lambda _: response)) as it:
        client = await it.client()
        await client.send(b"GET / HTTP/1.0\r\n\r\n")
        received = await client.rest()
        assert b"chunked" not in received
        assert received.endswith(b"\r\n\r\nhello")


async def test_interim_responses_of_the_backend_are_dropped(tmp_path: Path) -> None:
    response = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + ok(b"final")
    async with proxy_lab(tmp_path, candidate=ScriptedBackend(response=lambda _: response)) as it:
        assert (await it.ask(GET)).body == b"final"


async def test_pipelined_requests_are_answered_in_order(tmp_path: Path) -> None:
    async with proxy_lab(tmp_path, candidate=ScriptedBackend(response=lambda seen: ok(seen.line.encode()))) as it:
        client = await it.client()
        await client.send(b"".join(get(f"/{number}") for number in range(50)))
        bodies = [(await client.response()).body for _ in range(50)]
        assert bodies == [f"GET /{number} HTTP/1.1".encode() for number in range(50)]


async def test_connection_close_is_honoured(tmp_path: Path) -> None:
    async with proxy_lab(tmp_path) as it:
        client = await it.client()
        await client.send(get("/", "Connection: close"))
        received = await client.rest()
        assert b"Connection: close\r\n" in received


async def test_half_closed_client_still_gets_the_response(tmp_path: Path) -> None:
    async with proxy_lab(tmp_path) as it:
        client = await it.client()
        await client.send(GET)
        client.writer.write_eof()
        assert (await client.rest()).endswith(b"\r\n\r\nok")


async def test_backend_connections_are_reused(tmp_path: Path) -> None:
    async with proxy_lab(tmp_path) as it:
        client = await it.client()
        for _ in range(5):
            await client.ask(GET)
        assert it.candidate.connections == 1


async def test_websocket_is_tunnelled_and_not_journaled(tmp_path: Path) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        message = await read_message(reader)
        assert message.get("upgrade") == "websocket"
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-X: 1\r\n\r\nhi"
        )
        while data := await reader.read(100):
            writer.write(data.upper())
        writer.write(b"bye")

    async with proxy_lab(tmp_path, candidate=ScriptedBackend(handler=echo)) as it:
        client = await it.client()
        response = await client.ask(get("/v2/stamps/3/score/1", "Connection: Upgrade", "Upgrade: websocket"))
        assert (response.status, response.get("upgrade"), response.get("sec-x")) == (101, "websocket", "1")
        await client.send(b"abc")
        assert await client.reader.readexactly(5) == b"hiABC"
        client.writer.write_eof()
        assert await client.rest() == b"bye"
        await it.until(lambda: it.proxy.status()["skipped"] == {"upgrade": 1})


async def test_idle_websocket_is_closed(tmp_path: Path) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_message(reader)
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        await reader.read()

    async with proxy_lab(tmp_path, candidate=ScriptedBackend(handler=silent), limits={"tunnel_idle_s": 0.2}) as it:
        client = await it.client()
        assert (await client.ask(get("/", "Connection: Upgrade", "Upgrade: websocket"))).status == 101
        assert await client.rest() == b""


async def test_declined_upgrade_is_an_ordinary_response(tmp_path: Path) -> None:
    async with proxy_lab(tmp_path) as it:
        client = await it.client()
        responses = [await client.ask(get("/", "Connection: Upgrade", "Upgrade: websocket")) for _ in range(2)]
        assert [response.body for response in responses] == [b"ok", b"ok"]


async def test_other_upgrade_is_ignored(tmp_path: Path) -> None:
    async with proxy_lab(tmp_path) as it:
        response = await it.ask(get("/", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: x"))
        assert response.status == 200
        assert it.candidate.seen[0].get("upgrade") is None
        assert it.candidate.seen[0].get("http2-settings") is None


async def test_slow_reader_gets_a_large_response_with_bounded_memory(tmp_path: Path) -> None:
    size = 32 * 1024 * 1024
    sent = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await read_message(reader)
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
        while sent < size:
            writer.write(b"x" * 65536)
            sent += 65536
            await writer.drain()
        await reader.read()

    async with proxy_lab(tmp_path, candidate=ScriptedBackend(handler=flood)) as it:
        client = await it.client()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await client.send(GET)
        stalled = await _stalled(lambda: sent)
        assert stalled < size
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert len((await client.response()).body) == size


async def test_large_body_waits_for_a_slow_backend(tmp_path: Path) -> None:
    # More than the socket buffers of both hops can hold.
    size = 64 * 1024 * 1024
    go_on = asyncio.Event()
    received = 0

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        await reader.readuntil(b"\r\n\r\n")
        await go_on.wait()
        received = len(await reader.readexactly(size))
        writer.write(ok(b"done"))
        await reader.read()

    limits = {"body_max_bytes": size}
    async with proxy_lab(tmp_path, candidate=ScriptedBackend(handler=slow), limits=limits) as it:
        client = await it.client()
        await client.send(get("/", f"Content-Length: {size}", method="POST"))
        client.writer.write(b"x" * size)
        left = await _stalled(client.writer.transport.get_write_buffer_size)
        assert left > 0
        go_on.set()
        assert (await client.response()).body == b"done"
        assert received == size


async def _stalled(progress: object) -> int:
    """Return the value of `progress` once it has not changed for a while."""
    last = -1
    async with asyncio.timeout(60):
        while (now := progress()) != last:  # type: ignore[operator]
            last = now
            await asyncio.sleep(0.1)
    return last


async def test_early_response_is_forwarded_and_closes(tmp_path: Path) -> None:
    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ok(b"no", status="403 Forbidden"))
        await reader.read()

    async with proxy_lab(tmp_path, candidate=ScriptedBackend(handler=early)) as it:
        client = await it.client()
        await client.send(get("/", "Content-Length: 1000000", method="POST", body=b"x" * 1000))
        received = await client.rest()
        assert received.startswith(b"HTTP/1.1 403 Forbidden\r\n")
        assert b"Connection: close\r\n" in received


async def test_served_messages_are_journaled_unchanged(tmp_path: Path) -> None:
    backend = ScriptedBackend(response=lambda _: ok(b"\x00\xff", "X-A: 1", "X-A: 2", "Set-Cookie: c"))
    async with proxy_lab(tmp_path, candidate=backend) as it:
        await it.ask(get("/v2/stamps/3/score/0xAb?x=%2f", "X-API-Key: secret", "X-Request-Id: id-1"))
        [exchange] = await it.journaled(1)
        assert (exchange.id, exchange.route, exchange.key) == ("id-1", "score", "0xab")
        assert exchange.request.target == "/v2/stamps/3/score/0xAb?x=%2f"
        assert ("X-API-Key", "secret") in exchange.request.headers
        fields = (("Content-Length", "2"), ("X-A", "1"), ("X-A", "2"), ("Set-Cookie", "c"))
        assert exchange.outcome == Response(200, fields, b"\x00\xff")


async def test_time_of_the_first_byte_is_journaled(tmp_path: Path) -> None:
    go_on = asyncio.Event()

    async def head_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_message(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        await go_on.wait()
        writer.write(b"ok")

    async with proxy_lab(tmp_path, candidate=ScriptedBackend(handler=head_first)) as it:
        client = await it.client()
        await client.send(GET)
        head = await client.reader.readuntil(b"\r\n\r\n")
        first_byte_before_us = time.time_ns() // 1_000
        go_on.set()
        assert await client.reader.readexactly(2) == b"ok"
        [exchange] = await it.journaled(1)
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert 0 < exchange.first_byte_us <= first_byte_before_us - exchange.started_ns // 1_000
        assert exchange.first_byte_us <= (exchange.ended_ns - exchange.started_ns) // 1_000


async def test_exchange_without_a_response_has_no_first_byte(tmp_path: Path) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_message(reader)
        writer.close()

    async with proxy_lab(tmp_path, candidate=ScriptedBackend(handler=hang_up)) as it:
        await it.ask(get("/v2/stamps/3/score/0xAb", method="POST", body=b""))
        [exchange] = await it.journaled(1)
        assert exchange.first_byte_us == 0
