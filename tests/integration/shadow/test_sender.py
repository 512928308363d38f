"""proxy.shadow.sender over a real socket."""

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from comparator.exchange import Exchange, Reply, Request, Side
from proxy.shadow.sender import Sender

LIMIT = 1_000


@pytest.mark.parametrize(
    ("length", "kept", "truncated"), [(999, 999, False), (1_000, 1_000, False), (5_000_000, 1_000, True)]
)
async def test_long_reply_is_cut_where_the_journal_cuts(length: int, kept: int, truncated: bool) -> None:
    async def long(_: web.Request) -> web.Response:
        return web.Response(body=b"x" * length)

    app = web.Application()
    app.router.add_get("/long", long)
    exchange = Exchange("1", "r", "", Side.CANDIDATE, "", 0, 1, Request("GET", "/long", (), b""), Reply(200, (), b""))
    async with TestServer(app) as server:
        url = str(server.make_url(""))
        async with Sender({Side.LEGACY: url}, timeout_s=5.0, connections_max=1, body_max_bytes=LIMIT) as sender:
            replies = [(await sender.send(exchange, Side.LEGACY)).outcome for _ in range(2)]
    assert all(isinstance(reply, Reply) for reply in replies)
    assert [(len(r.body), r.body_truncated) for r in replies if isinstance(r, Reply)] == [(kept, truncated)] * 2
