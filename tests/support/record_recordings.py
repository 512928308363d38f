"""Record tests/data/recordings with the real tools: one short session between raw clients and a backend.

    python -m tests.support.record_recordings mitmproxy /path/to/mitmdump OUT.flow OUT.har
    python -m tests.support.record_recordings envoy /path/to/envoy OUT_STRINGS.json OUT_STREAMED.json OUT_ADMIN.json
    python -m tests.support.record_recordings browser /path/to/python/with/playwright /path/to/chromium OUT.har
    python -m tests.support.record_recordings nginx /path/to/nginx OUT.log
    python -m tests.support.record_recordings apache /path/to/apache2 OUT.log MODULES_DIRECTORY

The tests do not need these tools: they read the recordings. tests/data/recordings/README.md lists the versions that made them.
"""

import asyncio
import gzip
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from aiohttp import web

from proxy.demo.free_ports import free_port

HOST = "api.example"
TIMEOUT_S = 60
BINARY = bytes(range(256))
SCORE = '{"address":"0xab","score":"21.50000","note":"café"}'.encode()
LONG = b"0123456789abcdef" * 100
"""Longer than the 1 KiB at which Envoy truncates bodies."""


def message(line: str, *headers: str, body: bytes = b"") -> bytes:
    """Return the bytes of a request."""
    return "\r\n".join([line, f"Host: {HOST}", *headers, "Connection: close", "", ""]).encode("utf-8") + body


SESSION = (
    message(
        "GET /v2/stamps/335/score/0xab?include=stamps&note=human%20points HTTP/1.1",
        "X-API-Key: a-key-for-tests",
        "X-Twice: one",
        "X-Twice: two",
        'User-Agent: recorder/1 "quoted" \\ é',
        "Referer: https://app.example/?a=b",
    ),
    message(
        "POST /registry/submit-passport HTTP/1.1",
        "Content-Type: application/json",
        "Content-Length: 34",
        body=b'{"address":"0xab","scorer_id":"1"}',
    ),
    message("GET /gzip HTTP/1.1", "Accept-Encoding: gzip"),
    message("POST /echo HTTP/1.1", "Content-Length: 256", "Content-Type: application/octet-stream", body=BINARY),
    message("PUT /chunked HTTP/1.1", "Transfer-Encoding: chunked", body=b"4\r\nWiki\r\n5\r\npedia\r\n0\r\n\r\n"),
    message("GET /missing?q= HTTP/1.1"),
    message("GET /broken HTTP/1.1"),
    message("HEAD /score HTTP/1.1"),
    message("POST /echo HTTP/1.1", f"Content-Length: {len(LONG)}", "Content-Type: text/plain", body=LONG),
    message('GET /caf%C3%A9/"quoted"/a%22b?x=1&x=2 HTTP/1.1', "Authorization: Basic Ym9iIHRoZTpwYXNz"),
)


async def answer(request: web.Request) -> web.StreamResponse:
    """Respond by path: compressed, chunked, empty, an error, or with an aborted connection."""
    body = await request.read()
    match request.path:
        case "/gzip":
            headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
            return web.Response(body=gzip.compress(SCORE, mtime=0), headers=headers)
        case "/echo":
            return web.Response(body=body, content_type=request.content_type)
        case "/chunked":
            return web.Response(status=204)
        case "/missing":
            return web.json_response({"detail": "Not found."}, status=404)
        case "/broken":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        case "/socket":
            return await echo(request)
        case _:
            response = web.Response(body=SCORE, content_type="application/json")
            response.headers.add("X-Again", "a")
            response.headers.add("X-Again", "b")
            return response


async def echo(request: web.Request) -> web.StreamResponse:
    """Echo every message of a WebSocket."""
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    async for received in ws:
        if received.type is aiohttp.WSMsgType.TEXT:
            await ws.send_str(received.data)
        elif received.type is aiohttp.WSMsgType.BINARY:
            await ws.send_bytes(received.data)
    return ws


@asynccontextmanager
async def backend() -> AsyncIterator[int]:
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@asynccontextmanager
async def running_tool(port: int, *command: str, **environ: str) -> AsyncIterator[None]:
    """Run the tool: wait until it listens on `port`; at the end of the block send SIGINT and wait until it exits."""
    process = await asyncio.create_subprocess_exec(*command, env={"PATH": "/usr/bin:/bin", **environ})
    try:
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                except OSError:
                    await asyncio.sleep(0.05)
        yield
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(TIMEOUT_S):
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def send_raw(port: int, raw: bytes) -> bytes:
    """Send bytes and read until the peer closes."""
    async with asyncio.timeout(TIMEOUT_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(raw)
        response = await reader.read()
        writer.close()
        return response


async def send_session(port: int) -> None:
    for raw in SESSION:
        print((await send_raw(port, raw)).split(b"\r\n")[0], "for", raw.split(b"\r\n")[0])


async def send_http2_request(url: str) -> None:
    """Send one request with curl over HTTP/2, with prior knowledge on plain TCP; any certificate is accepted."""
    process = await asyncio.create_subprocess_exec(
        "curl", "-sS", "-k", "--http2" if url.startswith("https") else "--http2-prior-knowledge", "-o", "/dev/null",
        "-H", f"Host: {HOST}", "-H", "X-API-Key: a-key-for-tests", "-d", "address=0xab&a=b%20c", url + "/echo",
    )  # fmt: skip
    assert await process.wait() == 0


async def send_websocket_messages(url: str) -> None:
    """Send one text and one binary message and read their echoes."""
    async with aiohttp.ClientSession() as session, session.ws_connect(url, headers={"Host": HOST}) as ws:
        await ws.send_str("hello")
        await ws.receive_str()
        await ws.send_bytes(BINARY[:4])
        await ws.receive_bytes()


async def mitmproxy(command: str, flows: str, har: str) -> None:
    port = free_port()
    async with backend() as upstream:
        with tempfile.TemporaryDirectory() as folder:
            options = ["-q", "-p", str(port), "--mode", f"reverse:http://127.0.0.1:{upstream}", "-w", flows]
            options += [
                "--set",
                "keep_host_header=true",
                "--set",
                f"confdir={folder}",
                "--set",
                "connection_strategy=lazy",
            ]
            options += [] if har == "-" else ["--set", f"hardump={har}"]
            async with running_tool(port, command, *options, HOME=folder):
                await send_session(port)
                await send_websocket_messages(f"http://127.0.0.1:{port}/socket")
                await send_http2_request(f"https://127.0.0.1:{port}")


ENVOY = """
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {admin}}}}}}}
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: x
          route_config: {{virtual_hosts: [{{name: x, domains: ["*"], routes: [{{match: {{prefix: /}}, route: {{cluster: x}}}}]}}]}}
          http_filters:
          - name: tap
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.tap.v3.Tap
              record_headers_received_time: {timed}
              common_config: {config}
          - name: router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
  - name: x
    load_assignment:
      cluster_name: x
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream}}}}}}}}}]}}]
"""


TO_FILES = (
    "{{static_config: {{match_config: {{any_match: true}}, output_config: {{streaming: {streaming}, "
    "sinks: [{{format: {form}, file_per_tap: {{path_prefix: {folder}/tap}}}}]}}}}}}"
)
TO_ADMIN = "{{admin_config: {{config_id: session}}}}"
ADMIN_TAP_REQUEST = {
    "config_id": "session",
    "tap_config": {
        "match_config": {"any_match": True},
        "output_config": {"streaming": False, "sinks": [{"format": "JSON_BODY_AS_BYTES", "streaming_admin": {}}]},
    },
}


@asynccontextmanager
async def envoy(command: str, config: str, **values: object) -> AsyncIterator[tuple[int, int, Path]]:
    """Run Envoy with a tap filter; yield its port, its admin port and the folder for its files."""
    port, admin = free_port(), free_port()
    async with backend() as upstream:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "envoy.yaml"
            tap = config.format(folder=folder, **values)
            path.write_text(ENVOY.format(port=port, admin=admin, upstream=upstream, config=tap, **values))
            options = ["-c", str(path), "--base-id", str(port), "-l", "off", "--concurrency", "1"]
            async with running_tool(port, command, *options):
                yield port, admin, Path(folder)


async def tap_to_files(command: str, out: str, **values: object) -> None:
    async with envoy(command, TO_FILES, **values) as (port, _, folder):
        await send_session(port)
        await send_http2_request(f"http://127.0.0.1:{port}")
        files = sorted(folder.glob("tap*"))
        Path(out).write_bytes(b"".join(path.read_bytes() for path in files))


async def tap_to_admin(command: str, out: str) -> None:
    async with envoy(command, TO_ADMIN, timed="true") as (port, admin, _), aiohttp.ClientSession() as session:
        stream = await session.post(f"http://127.0.0.1:{admin}/tap", json=ADMIN_TAP_REQUEST)
        await send_session(port)
        await send_http2_request(f"http://127.0.0.1:{port}")
        data = b""
        async with asyncio.timeout(TIMEOUT_S):
            while data.count(b"http_buffered_trace") <= len(SESSION) or not data.endswith(b"}\n"):
                data += await stream.content.readany()
        stream.close()
        Path(out).write_bytes(data)


BROWSER = """
import sys
from playwright.sync_api import sync_playwright
chromium, port, out, session = sys.argv[1:]
with sync_playwright() as play:
    resolve = f"--host-resolver-rules=MAP api.example 127.0.0.1:{port}"
    browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox", resolve])
    context = browser.new_context(record_har_path=out, record_har_content="embed")
    page = context.new_page()
    page.goto("http://api.example/score")
    page.evaluate(session)
    context.close()
    browser.close()
"""
BROWSER_SESSION = """async () => {
  const post = (type, body) => fetch('/echo', {method: 'POST', headers: type, body}).then(response => response.arrayBuffer());
  await fetch('/v2/stamps/335/score/0xab?include=stamps&note=human%20points', {headers: {'X-API-Key': 'a-key-for-tests'}});
  await post({'Content-Type': 'application/json'}, '{"address":"0xab","scorer_id":"1"}');
  await fetch('/gzip');
  await post({'Content-Type': 'application/octet-stream'}, Uint8Array.from(Array(256).keys()));
  await fetch('/missing?q=').then(response => response.text());
  await fetch('/broken').catch(() => 0);
  await post({}, new URLSearchParams([['a', 'b c'], ['d', '\u00e9']]));
  await post({'Content-Type': 'text/plain'}, 'caf\u00e9');
  await new Promise(done => {
    const socket = new WebSocket('ws://api.example/socket');
    socket.onopen = () => socket.send('hello');
    socket.onmessage = () => { socket.close(); done(); };
  });
}"""


async def browser(python: str, chromium: str, out: str) -> None:
    async with backend() as port:
        command = [python, "-c", BROWSER, chromium, str(port), out, BROWSER_SESSION]
        process = await asyncio.create_subprocess_exec(*command)
        assert await process.wait() == 0


NGINX = """
daemon off; pid {folder}/pid; error_log /dev/null; worker_processes 1;
events {{}}
http {{
  log_format timed '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent '
                   '"$http_referer" "$http_user_agent" $request_time';
  client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c; uwsgi_temp_path {folder}/d;
  scgi_temp_path {folder}/e;
  server {{
    listen 127.0.0.1:{port};
    access_log {folder}/combined.log combined;
    access_log {folder}/timed.log timed;
    location / {{ proxy_pass http://127.0.0.1:{upstream}; }}
  }}
}}
"""

APACHE = """
ServerName {host}
Listen 127.0.0.1:{port}
PidFile {folder}/pid
ErrorLog /dev/null
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule proxy_module {modules}/mod_proxy.so
LoadModule proxy_http_module {modules}/mod_proxy_http.so
DefaultRuntimeDir {folder}
LogFormat "%h %l %u %t \\"%r\\" %>s %O \\"%{{Referer}}i\\" \\"%{{User-Agent}}i\\"" combined
LogFormat "%h %l %u %t \\"%r\\" %>s %b" common
LogFormat "%h %l %u %t \\"%r\\" %>s %O \\"%{{Referer}}i\\" \\"%{{User-Agent}}i\\" %D" timed
CustomLog {folder}/combined.log combined
CustomLog {folder}/common.log common
CustomLog {folder}/timed.log timed
ProxyPass / http://127.0.0.1:{upstream}/
"""


async def record_access_log(template: str, names: tuple[str, ...], out: str, command: list[str], **values: str) -> None:
    """Write the access logs of the session and of a TLS handshake on a plain port, one file after the other."""
    port = free_port()
    async with backend() as upstream:
        with tempfile.TemporaryDirectory() as folder:
            config = Path(folder) / "server.conf"
            config.write_text(template.format(port=port, upstream=upstream, folder=folder, host=HOST, **values))
            environ = {"LD_LIBRARY_PATH": values["libraries"]} if "libraries" in values else {}
            async with running_tool(
                port, *(argument.format(config=config, folder=folder) for argument in command), **environ
            ):
                await send_session(port)
                await send_raw(port, b"\x16\x03\x01\x00\xee hello\r\n\r\n")
            Path(out).write_bytes(b"".join((Path(folder) / name).read_bytes() for name in names))


async def main(arguments: list[str]) -> None:
    match arguments:
        case ["mitmproxy", command, flows, har]:
            await mitmproxy(command, flows, har)
        case ["envoy", command, strings, streamed, admin]:
            await tap_to_files(command, strings, streaming="false", form="JSON_BODY_AS_STRING", timed="true")
            await tap_to_files(command, streamed, streaming="true", form="JSON_BODY_AS_BYTES", timed="false")
            await tap_to_admin(command, admin)
        case ["browser", python, chromium, out]:
            await browser(python, chromium, out)
        case ["nginx", command, out]:
            started = [command, "-c", "{config}", "-p", "{folder}"]
            await record_access_log(NGINX, ("combined.log", "timed.log"), out, started)
        case ["apache", command, out, modules]:
            started = [command, "-D", "FOREGROUND", "-f", "{config}"]
            names = ("combined.log", "common.log", "timed.log")
            libraries = str(Path(modules).parents[1] / "x86_64-linux-gnu")
            await record_access_log(APACHE, names, out, started, modules=modules, libraries=libraries)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
