"""The head cache in a running proxy."""

from pathlib import Path

from prometheus_client import CollectorRegistry

from tests.support.proxy_lab import Message, ScriptedBackend, ok, proxy_lab


def get(number: int) -> bytes:
    return (
        f"GET /v2/stamps/3/score/0x{number} HTTP/1.1\r\nHost: a\r\nX-API-Key: key-{number}\r\nX-Version: {number}\r\n"
        "Accept: */*\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n\r\n"
    ).encode()


def client_fields(message: Message) -> list[tuple[str, str]]:
    """Return the client's fields as the backend received them."""
    return [
        field for field in message.fields if field[0] in ("X-API-Key", "X-Version", "Accept", "X-Hop", "Connection")
    ]


async def test_cached_heads_are_forwarded_with_their_own_values(tmp_path: Path) -> None:
    backend = ScriptedBackend(
        response=lambda seen: ok(seen.line.encode(), f"ETag: {seen.line}", "Connection: X-Hop", "X-Hop: 1")
    )
    async with proxy_lab(tmp_path, candidate=backend) as it:
        client = await it.client()
        responses = [await client.ask(get(number)) for number in range(40)]
        hits, misses = it.proxy.state.head_lookups["request"]
        assert hits + misses == 40
        assert hits >= 20
        assert [client_fields(message) for message in backend.seen] == [
            [("X-API-Key", f"key-{number}"), ("X-Version", str(number)), ("Accept", "*/*")] for number in range(40)
        ]
        assert [response.body for response in responses] == [message.line.encode() for message in backend.seen]
        assert [response.get("etag") for response in responses] == [message.line for message in backend.seen]
        assert {response.get("x-hop") for response in responses} == {None}


async def test_cached_heads_are_journaled_with_their_own_values(tmp_path: Path) -> None:
    async with proxy_lab(tmp_path) as it:
        client = await it.client()
        for number in range(30):
            await client.ask(get(number))
        journaled = await it.journaled(30)
        versions = [dict(exchange.request.headers)["X-Version"] for exchange in journaled]
        assert versions == [str(number) for number in range(30)]
        assert dict(journaled[-1].request.headers)["X-API-Key"] == "key-29"


async def test_head_lookups_are_counted(tmp_path: Path) -> None:
    async with proxy_lab(tmp_path) as it:
        client = await it.client()
        for _ in range(3):
            await client.ask(get(1))
        registry = CollectorRegistry()
        registry.register(it.proxy.state.metrics)
        for message in ("request", "response"):
            labels = {"message": message, "result": "hit"}
            assert registry.get_sample_value("shadow_head_lookups_total", labels) == 2
            assert registry.get_sample_value("shadow_head_lookups_total", {**labels, "result": "miss"}) == 1
