"""Send a request byte for byte as recorded over a real socket, and read the whole response."""

import asyncio
from collections.abc import Sequence

import httptools

from comparator.exchanges.model import Failed, FailureCause, Response
from tests.golden.scenario import Call

RESPONSE_TIMEOUT_S = 30.0


class _Collector:
    """The httptools callbacks of one response; a response to HEAD has no body, despite its Content-Length."""

    def __init__(self, *, bodiless: bool) -> None:
        self._bodiless = bodiless
        self.headers: list[tuple[str, str]] = []
        self.body: list[bytes] = []
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        self.complete = self._bodiless

    def on_body(self, body: bytes) -> None:
        self.body.append(body)

    def on_message_complete(self) -> None:
        self.complete = True


def encoded(method: str, target: str, headers: Sequence[tuple[str, str]], body: bytes) -> bytes:
    """Encode the request without normalizing, quoting or adding anything."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + body


async def send(port: int, call: Call) -> Response | Failed:
    """Send one call to 127.0.0.1:`port` on a new connection."""
    return await exchange(port, encoded(call.method, call.target, call.headers, call.body))


async def exchange(port: int, request: bytes) -> Response | Failed:
    """Send raw bytes and read one response; return a value for a missing or malformed response too."""
    try:
        async with asyncio.timeout(RESPONSE_TIMEOUT_S):
            return await _exchange(port, request)
    except TimeoutError:
        return Failed(FailureCause.TIMEOUT, f"no response within {RESPONSE_TIMEOUT_S:g} s")
    except (OSError, httptools.HttpParserError) as error:
        return Failed(FailureCause.RESET, repr(error))


async def _exchange(port: int, request: bytes) -> Response | Failed:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        collector = _Collector(bodiless=request.startswith(b"HEAD "))
        parser = httptools.HttpResponseParser(collector)
        while not collector.complete:
            chunk = await reader.read(65536)
            if not chunk:
                break
            parser.feed_data(chunk)
        if not collector.headers:
            return Failed(FailureCause.RESET, "the connection was closed without a response")
        return Response(parser.get_status_code(), tuple(collector.headers), b"".join(collector.body))
    finally:
        writer.close()
