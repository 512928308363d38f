"""Requests that two parsers could read in two ways are refused, and limits have their status codes."""

from pathlib import Path

import pytest

from tests.support.proxy_lab import ProxyLab, ScriptedBackend, ok, proxy_lab

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
    "CONNECT to a path": b"CONNECT /a HTTP/1.1\r\nHost: a\r\n\r\n",
    "an asterisk for another method": b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
    "an absolute target of another scheme": b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "an absolute target without an authority": b"GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n",
    "an absolute target with user information": b"GET http://u:p@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "an absolute target beside no Host": b"GET http://a/ HTTP/1.1\r\n\r\n",
    "a NUL in the target": b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
    "a DEL in the target": b"GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n",
    "an escape in the target": b"GET /\x1b HTTP/1.1\r\nHost: a\r\n\r\n",
    "a bare CR in the request line": b"GET /\rX HTTP/1.1\r\nHost: a\r\n\r\n",
    "a space before the method": b" GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "a space after the protocol": b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
    "a form feed for a space": b"GET\x0c/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "no target": b"GET  HTTP/1.1\r\nHost: a\r\n\r\n",
    "no method": b"/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "a very long method": b"G" * 100 + b" / HTTP/1.1\r\nHost: a\r\n\r\n",
    "a minor version of two digits": b"GET / HTTP/1.10\r\nHost: a\r\n\r\n",
    "a major version of two digits": b"GET / HTTP/11.1\r\nHost: a\r\n\r\n",
    "a version with a comma": b"GET / HTTP/1,1\r\nHost: a\r\n\r\n",
    "another protocol": b"GET / ICY/1.1\r\nHost: a\r\n\r\n",
    "a flood of empty lines": b"\r\n" * 5000 + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "an empty line of a bare LF": b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "a blank first line": b"  \r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "a name in parentheses": b"GET / HTTP/1.1\r\nHost: a\r\nX(y): 1\r\n\r\n",
    "a name with a space": b"GET / HTTP/1.1\r\nHost: a\r\nX Y: 1\r\n\r\n",
    "a name beyond ASCII": b"GET / HTTP/1.1\r\nHost: a\r\nX\xe9: 1\r\n\r\n",
    "a tab before the colon": b"GET / HTTP/1.1\r\nHost: a\r\nX\t: 1\r\n\r\n",
    "a vertical tab in a value": b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\x0b2\r\n\r\n",
    "a form feed in a value": b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\x0c2\r\n\r\n",
    "a DEL in a value": b"GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n",
    "a bare CR before a field": b"GET / HTTP/1.1\r\nHost: a\r\n\rX: 1\r\n\r\n",
    "a bare CR at a value's end": b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\r\n\r\n",
    "two equal Hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    "a Host with a space": b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    "a Host with a word for a port": b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n",
    "a Host with a bracket": b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
    "a Host with a scheme": b"GET / HTTP/1.1\r\nHost: http://a\r\n\r\n",
    "a length and a space and a length": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 0\r\n\r\na",
    "a length with a comma": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1,\r\n\r\na",
    "a length with a parameter": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1;a=b\r\n\r\na",
    "a length with a fraction": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1.0\r\n\r\na",
    "a length with an exponent": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1e1\r\n\r\na",
    "a quoted length": b'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: "1"\r\n\r\na',
    "a length with a vertical tab": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \x0b1\r\n\r\na",
    "lengths that differ in case only": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\ncontent-length: 1\r\n\r\na",
    "a length and an identity coding": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: identity\r\n\r\na",
    "an identity coding": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n",
    "an empty coding": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n",
    "a coding with a parameter": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
    "a coding with a comma before it": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: , chunked\r\n\r\n0\r\n\r\n",
    "a coding with a comma after it": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked,\r\n\r\n0\r\n\r\n",
    "two codings in one word": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked chunked\r\n\r\n0\r\n\r\n",
    "a coding cut by a NUL": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\x00\r\n\r\n0\r\n\r\n",
    "a coding that is folded": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "a coding with a space before its colon": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "a coding given twice": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "no chunk size": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\r\na\r\n0\r\n\r\n",
    "a space before a chunk size": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n 1\r\na\r\n0\r\n\r\n",
    "a space after a chunk size": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1 \r\na\r\n0\r\n\r\n",
    "a plus before a chunk size": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n+1\r\na\r\n0\r\n\r\n",
    "a chunk size with an underscore": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1_0\r\na\r\n0\r\n\r\n",
    "a chunk size that would wrap around": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000001\r\na\r\n0\r\n\r\n",
    "a chunk size with a bare CR": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\r\na\r\n0\r\n\r\n",
    "a chunk extension with a NUL": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;\x00\r\na\r\n0\r\n\r\n",
    "a chunk extension with a bare CR": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;a\rb\r\na\r\n0\r\n\r\n",
    "an endless chunk extension": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;"
    + b"x" * 5000
    + b"\r\na\r\n0\r\n\r\n",
    "a chunk that ends in LF": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\n0\r\n\r\n",
    "a chunk that ends in CR": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r0\r\n\r\n",
    "a trailer that is folded": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: 1\r\n 2\r\n\r\n",
    "a trailer with a space before its colon": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX : 1\r\n\r\n",
    "a trailer with a NUL": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: \x00\r\n\r\n",
    "a last line of LF": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\nGET",
}


async def answered(it: ProxyLab, data: bytes) -> tuple[bytes, int]:
    """Send some bytes and a valid request after them; return the first status line of the responses, and their number."""
    client = await it.client()
    await client.send(data + b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
    received = await client.rest()
    client.close()
    return received.partition(b"\r\n")[0], received.count(b"HTTP/1.1 ")


async def test_malformed_request_is_refused_and_its_connection_closed(tmp_path: Path) -> None:
    async with proxy_lab(tmp_path) as it:
        responses = {name: await answered(it, data) for name, data in MALFORMED.items()}
        assert responses == dict.fromkeys(MALFORMED, (b"HTTP/1.1 400 Bad Request", 1))
        assert [seen.line for seen in it.candidate.seen] == []
        assert it.proxy.state.metrics.refused == {400: len(MALFORMED)}


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
    "a preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "two expectations": (b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue, x\r\n\r\n", 417),
    "an empty expectation": (b"POST / HTTP/1.1\r\nHost: a\r\nExpect:\r\n\r\n", 417),
    "codings that end in chunked": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
        501,
    ),
    "a chunk larger than a body": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n" + b"x" * 1001,
        413,
    ),
    "large trailers": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
        b"X: " + b"x" * 900 + b"\r\n" + (b"Y: " + b"y" * 900 + b"\r\n") * 20,
        431,
    ),
}


@pytest.mark.parametrize(("data", "status"), LIMITED.values(), ids=LIMITED.keys())
async def test_limit_has_its_status(tmp_path: Path, data: bytes, status: int) -> None:
    limits = {"header_max_bytes": 2048, "headers_max": 16, "target_max_bytes": 512, "body_max_bytes": 1000}
    async with proxy_lab(tmp_path, limits=limits) as it:
        response = await it.ask(data)
        assert response.status == status
        assert it.proxy.state.metrics.refused == {status: 1}


@pytest.mark.parametrize(
    "data",
    [b"GET / HT", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab"],
    ids=["slow header", "slow body"],
)
async def test_slow_request_times_out(tmp_path: Path, data: bytes) -> None:
    async with proxy_lab(tmp_path, limits={"header_s": 0.2, "body_idle_s": 0.2}) as it:
        assert (await it.ask(data)).status == 408


async def test_unused_connection_is_closed_without_a_response(tmp_path: Path) -> None:
    async with proxy_lab(tmp_path, limits={"idle_s": 0.2}) as it:
        client = await it.client()
        assert await client.rest() == b""


async def test_connections_beyond_the_limit_are_refused(tmp_path: Path) -> None:
    async with proxy_lab(tmp_path, limits={"connections_max": 1}) as it:
        first = await it.client()
        await first.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        # (half a request: an unused connection would be closed to make room)
        await first.send(b"GET / HTTP/1.1\r\n")
        await it.until(lambda: not any(client.unused for client in it.proxy.state.connections.clients))
        second = await it.client()
        refusal = await second.response()
        assert (refusal.status, refusal.get("Retry-After")) == (503, "1")
        assert (await first.ask(b"Host: a\r\n\r\n")).status == 200


async def test_empty_line_before_a_request_is_skipped(tmp_path: Path) -> None:
    async with proxy_lab(tmp_path) as it:
        assert (await it.ask(b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")).status == 200


ODD = {
    "no Host in HTTP/1.0": (b"GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.1"),
    "an empty Host": (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", "GET / HTTP/1.1"),
    "a Host of IPv6": (b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "GET / HTTP/1.1"),
    "an absolute target": (b"GET http://b:81/x?y HTTP/1.1\r\nHost: a\r\n\r\n", "GET /x?y HTTP/1.1"),
    "an absolute target without a path": (b"GET http://b?y HTTP/1.1\r\nHost: a\r\n\r\n", "GET /?y HTTP/1.1"),
    "an asterisk": (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * HTTP/1.1"),
    "TRACE": (b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", "TRACE / HTTP/1.1"),
    "a method of its own": (b"M-SEARCH / HTTP/1.1\r\nHost: a\r\n\r\n", "M-SEARCH / HTTP/1.1"),
    "no space after a colon": (b"GET / HTTP/1.1\r\nHost:a\r\nX:1\r\n\r\n", "GET / HTTP/1.1"),
    "space around a value": (b"GET / HTTP/1.1\r\nHost: \t a \t\r\n\r\n", "GET / HTTP/1.1"),
    "space around a length": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \t2\t \r\n\r\nhi", "POST / HTTP/1.1"),
    "zeros before a length": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 002\r\n\r\nhi", "POST / HTTP/1.1"),
    "a coding in capitals": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        "POST / HTTP/1.1",
    ),
    "space around a coding": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \tchunked \r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        "POST / HTTP/1.1",
    ),
    "chunk extensions": (
        b'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n02 ;a="b;c"\r\nhi\r\n000;x\r\nX: 1\r\n\r\n',
        "POST / HTTP/1.1",
    ),
    "an upgrade to HTTP/2": (
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        "GET / HTTP/1.1",
    ),
    "a few empty lines before it": (b"\r\n" * 8 + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1"),
}


@pytest.mark.parametrize(("data", "line"), ODD.values(), ids=ODD.keys())
async def test_odd_but_unambiguous_request_is_forwarded(tmp_path: Path, data: bytes, line: str) -> None:
    async with proxy_lab(tmp_path) as it:
        assert (await it.ask(data)).status == 200
        assert [seen.line for seen in it.candidate.seen] == [line]
        assert [seen.body for seen in it.candidate.seen] == [b"hi" if b"hi" in data else b""]


@pytest.mark.parametrize(
    "name", ["X_Forwarded_For", "X-Forwarded_Proto", "x_serve_with", "Content_Length", "Transfer_Encoding"]
)
async def test_field_that_imitates_one_of_ours_is_stripped(tmp_path: Path, name: str) -> None:
    async with proxy_lab(tmp_path) as it:
        await it.ask(f"GET / HTTP/1.1\r\nHost: a\r\n{name}: 7\r\nX_Other: 1\r\n\r\n".encode())
        [seen] = it.candidate.seen
        assert (seen.get(name), seen.get("x_other")) == (None, "1")


async def test_requests_before_a_malformed_one_are_answered(tmp_path: Path) -> None:
    async with proxy_lab(tmp_path) as it:
        client = await it.client()
        good = b"GET /good HTTP/1.1\r\nHost: a\r\n\r\n"
        await client.send(good + b"GET /bad HTTP/1.1\r\n\r\n" + good)
        received = await client.rest()
        assert received.count(b"HTTP/1.1 200 ") == 1
        assert received.count(b"HTTP/1.1 400 ") == 1
        assert [seen.line for seen in it.candidate.seen] == ["GET /good HTTP/1.1"]


RESPONSES = {
    "garbage": b"garbage\r\n\r\n",
    "length and chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
    "a folded field": b"HTTP/1.1 200 OK\r\nX: 1\r\n 2\r\nContent-Length: 0\r\n\r\n",
    "an unexpected switch": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    "an endless head": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,
    "another version": b"HTTP/2.0 200 OK\r\n\r\n",
    "a status of two digits": b"HTTP/1.1 99 X\r\n\r\n",
    "a status of four digits": b"HTTP/1.1 2000 X\r\n\r\n",
    "a status that is none": b"HTTP/1.1 600 X\r\n\r\n",
    "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "a list of lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\na",
    "another coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "two codings": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
    "a NUL in a value": b"HTTP/1.1 200 OK\r\nX: \x00\r\nContent-Length: 0\r\n\r\n",
    "a bare CR in a value": b"HTTP/1.1 200 OK\r\nX: 1\rY: 2\r\nContent-Length: 0\r\n\r\n",
    "a tenth interim response": b"HTTP/1.1 103 Early Hints\r\n\r\n" * 10,
}


@pytest.mark.parametrize("data", RESPONSES.values(), ids=RESPONSES.keys())
async def test_malformed_response_is_a_502_and_does_not_reach_the_next_request(tmp_path: Path, data: bytes) -> None:
    responses = iter([data, ok(b"fine")])
    async with proxy_lab(tmp_path, candidate=ScriptedBackend(response=lambda _: next(responses))) as it:
        client = await it.client()
        assert (await client.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")).status == 502
        assert (await client.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")).body == b"fine"
        assert it.candidate.connections == 2


async def test_bytes_after_a_response_are_not_the_next_response(tmp_path: Path) -> None:
    responses = iter([ok(b"one") + ok(b"poison"), ok(b"two")])
    async with proxy_lab(tmp_path, candidate=ScriptedBackend(response=lambda _: next(responses))) as it:
        client = await it.client()
        assert (await client.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")).body == b"one"
        assert (await client.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")).body == b"two"
