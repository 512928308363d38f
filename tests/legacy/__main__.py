"""Run the stand-in: `python -m tests.legacy --host 127.0.0.1 --port 0 [--workers n]`.

It prints one line `ready http://host:port` when it accepts connections. A process that used didkit may crash while the interpreter
exits, so each process ends with os._exit after a clean shutdown.
"""

import argparse
import ctypes
import logging
import os
import signal
import socket
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.legacy", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--workers", type=int, default=1, help="processes that share the port")
    options = parser.parse_args()
    listener = socket.create_server((options.host, options.port), backlog=1024)
    listener.set_inheritable(True)
    children = [fork(listener) for _ in range(options.workers - 1)]
    print(f"ready http://{options.host}:{listener.getsockname()[1]}", flush=True)
    serve(listener)
    for child in children:
        os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)
    leave()


def fork(listener: socket.socket) -> int:
    """Fork a process on the same socket; it exits with this one."""
    pid = os.fork()
    if pid == 0:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        serve(listener)
        leave()
    return pid


def serve(listener: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT."""
    # uvicorn raises the signal that stopped it once more for whoever listened before it; that must not end the process.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    # Refused requests are no news.
    logging.getLogger("django.request").setLevel(logging.ERROR)
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.legacy.settings"
    import uvicorn  # noqa: PLC0415 (after the fork: neither Django nor didkit may be shared)
    from django.core.asgi import get_asgi_application  # noqa: PLC0415

    config = uvicorn.Config(
        get_asgi_application(), lifespan="off", log_level="warning", access_log=False, loop="uvloop"
    )
    uvicorn.Server(config).run(sockets=[listener])


def leave() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
