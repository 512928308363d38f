"""Serve one Kinto: `python serve_kinto.py KINTO.INI PORT`. Run by the interpreter of Kinto's own environment, so it imports nothing else.

With SHADOW_TAG=1 each transaction that writes names its request, as `runner.tagged_sides` asks for: the request's X-Request-Id goes
into a logical-decoding message in front of each statement that writes. With SHADOW_LOSE=PRINCIPAL it loses what that principal may do
with the bucket `lost`: the defect that is to be found.
"""

# pyright: reportMissingImports=false

import os
import re
import sys
import threading
from collections.abc import Callable, Iterable

import waitress
from pyramid.paster import get_app
from sqlalchemy import event
from sqlalchemy.engine import Engine

WRITES = re.compile(r"\b(INSERT|UPDATE|DELETE|TRUNCATE)\b", re.IGNORECASE)
NAME_REQUEST = "SELECT pg_logical_emit_message(true, 'shadow.request', %s)"
LOSE = "DELETE FROM access_control_entries WHERE object_id = '/buckets/lost' AND principal = %s"

Wsgi = Callable[[dict, Callable], Iterable[bytes]]

request = threading.local()


def named(application: Wsgi) -> Wsgi:
    """Remember the id of the request that this thread works on."""

    def serve(environ: dict, start_response: Callable) -> Iterable[bytes]:
        request.id = environ.get("HTTP_X_REQUEST_ID", "")
        return application(environ, start_response)

    return serve


def name_request(_conn: object, cursor, statement: str, *_: object) -> None:
    """Name the request in the transaction that is about to write."""
    if getattr(request, "id", "") and WRITES.search(statement):
        cursor.execute(NAME_REQUEST, (request.id,))


def lose_permission(_conn: object, cursor, statement: str, *_: object) -> None:
    """Take back one permission right after it was given."""
    if "INSERT INTO access_control_entries" in statement:
        cursor.execute(LOSE, (os.environ["SHADOW_LOSE"],))


def main() -> None:
    """Serve until the process is ended."""
    ini, port = sys.argv[1:]
    application = get_app(ini)
    if os.environ.get("SHADOW_TAG"):
        application = named(application)
        event.listen(Engine, "before_cursor_execute", name_request)
    if os.environ.get("SHADOW_LOSE"):
        event.listen(Engine, "after_cursor_execute", lose_permission)
    waitress.serve(
        application, host="127.0.0.1", port=int(port), threads=8, ident="kinto", clear_untrusted_proxy_headers=True
    )


if __name__ == "__main__":
    main()
