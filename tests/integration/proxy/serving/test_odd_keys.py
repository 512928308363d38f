"""An ordering key with a lone surrogate, which is no text: the client is served, and does not hide from the comparison."""

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from proxy.journal.queue import ENCODED_AT_ONCE
from proxy.serving import metrics
from tests.support.proxy_lab import proxy_lab

SURROGATE = "\\ud800"


def body_of(address: str) -> bytes:
    return b'{"user":{"address":"%b"}}' % address.encode()


def request(address: str) -> bytes:
    body = body_of(address)
    return b"POST /by-body HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


@pytest.mark.parametrize("json_paths", [[], ["user.address"]], ids=["in-clear", "redacted"])
async def test_lone_surrogate_in_a_key_is_journaled_like_any_other(tmp_path: Path, json_paths: list[str]) -> None:
    journal = {"directory": str(tmp_path / "journal"), "redaction": {"json_paths": json_paths}}
    async with proxy_lab(tmp_path, journal=journal, serve={"percent": 50.0}) as it:
        client = await it.client()
        addresses = [f"0x{number}" for number in range(ENCODED_AT_ONCE + 4)]
        responses = [await client.ask(request(address)) for address in [*addresses[:9], SURROGATE, *addresses[9:]]]
        assert {response.status for response in responses} == {200}
        journaled = await it.journaled(len(addresses) + 1)
        sent = [body_of(address) for address in [*addresses[:9], SURROGATE, *addresses[9:]]]
        assert [exchange.request.body for exchange in journaled] == sent
        assert journaled[9].key == SURROGATE
        writer = it.proxy.journal
        assert writer is not None
        assert not any(writer.counts.dropped.values())


async def test_lone_surrogate_in_a_key_is_forwarded_and_counted(tmp_path: Path) -> None:
    async with proxy_lab(tmp_path) as it:
        assert (await it.ask(request(SURROGATE))).status == 200
        assert [message.body for message in it.candidate.seen] == [body_of(SURROGATE)]
        writer = it.proxy.journal
        assert writer is not None
        await it.until(lambda: not writer.counts.queued)
        registry = CollectorRegistry()
        registry.register(it.proxy.state.metrics)
        assert registry.get_sample_value(metrics.SERVED) == 1
        assert registry.get_sample_value(metrics.JOURNAL_DROPPED, {"cause": "encoding"}) == 0
        assert registry.get_sample_value(metrics.JOURNAL_WRITTEN) == 1
