"""A minimal aiohttp proxy to compare with: one catch-all handler and a ClientSession.

`python -m bench.plain_proxy PORT BACKEND_PORT MIRROR_PORT [JOURNAL]`: MIRROR_PORT 0 turns mirroring off; otherwise each request is
also sent there, by a task of its own. With JOURNAL each exchange is appended to that file as one line of JSON, bodies in base64.
"""

import asyncio
import base64
import json
import sys
from contextlib import ExitStack
from pathlib import Path

from aiohttp import ClientResponse, ClientSession, TCPConnector, web

NOT_FORWARDED = {"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "content-length", "host"}


def journal_line(request: web.Request, body: bytes, response: ClientResponse, response_body: bytes) -> str:
    exchange = {
        "method": request.method,
        "path": request.raw_path,
        "request_headers": list(request.headers.items()),
        "request_body": base64.b64encode(body).decode(),
        "status": response.status,
        "response_headers": list(response.headers.items()),
        "response_body": base64.b64encode(response_body).decode(),
    }
    return json.dumps(exchange) + "\n"


def main() -> None:
    with ExitStack() as stack:
        # Line buffering: a concurrent reader of the file sees whole exchanges.
        journal = stack.enter_context(Path(sys.argv[4]).open("a", buffering=1)) if len(sys.argv) > 4 else None
        port, backend, mirror = (int(argument) for argument in sys.argv[1:4])
        background: set[asyncio.Future[None]] = set()

        async def copy(request: web.Request, body: bytes, headers: dict[str, str]) -> None:
            url = f"http://127.0.0.1:{mirror}{request.raw_path}"
            async with app["session"].request(request.method, url, data=body, headers=headers) as response:
                await response.read()

        async def handle(request: web.Request) -> web.Response:
            body = await request.read()
            headers = {name: value for name, value in request.headers.items() if name.lower() not in NOT_FORWARDED}
            url = f"http://127.0.0.1:{backend}{request.raw_path}"
            async with app["session"].request(request.method, url, data=body, headers=headers) as response:
                response_body = await response.read()
            if journal:
                journal.write(journal_line(request, body, response, response_body))
            if mirror:
                task = asyncio.ensure_future(copy(request, body, headers))
                background.add(task)
                task.add_done_callback(background.discard)
            fields = {name: value for name, value in response.headers.items() if name.lower() not in NOT_FORWARDED}
            return web.Response(status=response.status, headers=fields, body=response_body)

        async def session(app: web.Application):
            async with ClientSession(connector=TCPConnector(limit=0)) as client:
                app["session"] = client
                yield

        app = web.Application()
        app.cleanup_ctx.append(session)
        app.router.add_route("*", "/{path:.*}", handle)
        web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=None)


if __name__ == "__main__":
    main()
