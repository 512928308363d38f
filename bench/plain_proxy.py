"""The aiohttp proxy everyone writes: a catch-all handler and a ClientSession; with a third port, a mirroring task beside it.

With a file as fourth argument it also appends each exchange as one line of JSON, bodies in base64.
"""

import asyncio
import base64
import json
import sys
from contextlib import ExitStack
from pathlib import Path

from aiohttp import ClientResponse, ClientSession, TCPConnector, web

SKIPPED = {"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "content-length", "host"}


def line(request: web.Request, body: bytes, response: ClientResponse, answer: bytes) -> str:
    """One exchange for the journal."""
    exchange = {
        "method": request.method,
        "path": request.raw_path,
        "request_headers": list(request.headers.items()),
        "request_body": base64.b64encode(body).decode(),
        "status": response.status,
        "response_headers": list(response.headers.items()),
        "response_body": base64.b64encode(answer).decode(),
    }
    return json.dumps(exchange) + "\n"


def main() -> None:
    with ExitStack() as stack:
        # Line by line: who reads the file meanwhile finds whole exchanges.
        journal = stack.enter_context(Path(sys.argv[4]).open("a", buffering=1)) if len(sys.argv) > 4 else None
        port, backend, mirror = (int(word) for word in sys.argv[1:4])
        background: set[asyncio.Future[None]] = set()

        async def copy(request: web.Request, body: bytes, headers: dict[str, str]) -> None:
            url = f"http://127.0.0.1:{mirror}{request.raw_path}"
            async with app["session"].request(request.method, url, data=body, headers=headers) as response:
                await response.read()

        async def handle(request: web.Request) -> web.Response:
            body = await request.read()
            headers = {name: value for name, value in request.headers.items() if name.lower() not in SKIPPED}
            url = f"http://127.0.0.1:{backend}{request.raw_path}"
            async with app["session"].request(request.method, url, data=body, headers=headers) as response:
                answer = await response.read()
            if journal:
                journal.write(line(request, body, response, answer))
            if mirror:
                task = asyncio.ensure_future(copy(request, body, headers))
                background.add(task)
                task.add_done_callback(background.discard)
            fields = {name: value for name, value in response.headers.items() if name.lower() not in SKIPPED}
            return web.Response(status=response.status, headers=fields, body=answer)

        async def session(app: web.Application):
            async with ClientSession(connector=TCPConnector(limit=0)) as made:
                app["session"] = made
                yield

        app = web.Application()
        app.cleanup_ctx.append(session)
        app.router.add_route("*", "/{path:.*}", handle)
        web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=None)


if __name__ == "__main__":
    main()
