"""Capture rules at the proxy: what is wanted is journaled, the rest is counted; it works without a mirror."""

from pathlib import Path
from typing import Any

from comparator.exchanges.skip import Skip
from tests.integration.proxy.serving.test_serving import get, sides
from tests.support.proxying import lab


def routes(**rule: object) -> list[dict[str, Any]]:
    return [{"name": "caught", "path": "/caught/{address}", "key": "address", "record_if": rule}]


async def test_only_so_many_are_taken_and_the_rest_is_counted(tmp_path: Path) -> None:
    async with lab(tmp_path, **sides(), routes=routes(until_count=2)) as it:
        for number in range(5):
            assert (await it.ask(get(f"/caught/{number}"))).status == 200
        assert [one.key for one in await it.journaled(2)] == ["0", "1"]
        assert it.proxy.state.metrics.skipped == {Skip.RECORD_IF: 3}


async def test_an_exchange_that_is_not_wanted_is_served_all_the_same(tmp_path: Path) -> None:
    async with lab(tmp_path, **sides(), routes=routes(statuses=["5xx"])) as it:
        assert (await it.ask(get("/caught/1"))).body == b"candidate"
        assert it.proxy.state.metrics.skipped == {Skip.RECORD_IF: 1}
