"""Record filters in a running proxy: selected exchanges are journaled, the others counted; no mirror is needed."""

from pathlib import Path
from typing import Any

from comparator.exchanges.skip import Skip
from tests.integration.proxy.serving.test_serving import get, sides
from tests.support.proxy_lab import proxy_lab


def routes(**rule: object) -> list[dict[str, Any]]:
    return [{"name": "caught", "path": "/caught/{address}", "key": "address", "record_if": rule}]


async def test_until_count_limits_the_journal_and_the_rest_is_counted(tmp_path: Path) -> None:
    async with proxy_lab(tmp_path, **sides(), routes=routes(until_count=2)) as it:
        for number in range(5):
            assert (await it.ask(get(f"/caught/{number}"))).status == 200
        assert [exchange.key for exchange in await it.journaled(2)] == ["0", "1"]
        assert it.proxy.state.metrics.skipped == {Skip.RECORD_IF: 3}


async def test_exchange_that_is_not_recorded_is_served(tmp_path: Path) -> None:
    async with proxy_lab(tmp_path, **sides(), routes=routes(statuses=["5xx"])) as it:
        assert (await it.ask(get("/caught/1"))).body == b"candidate"
        assert it.proxy.state.metrics.skipped == {Skip.RECORD_IF: 1}
