"""Keep the id of the running request, as WSGI and ASGI middlewares, and give the SQL that names it in a transaction.

A transaction that writes is named by one statement before its first write:

    SELECT pg_logical_emit_message(true, 'shadow.request', ID), set_config('shadow.request', ID, true)

The message is for capturing from the write-ahead log, the setting for capturing by triggers. Both end with the transaction, and a
rollback to a savepoint takes back what was said after it.
"""

from __future__ import annotations

import re
from contextvars import ContextVar
from typing import Any, Awaitable, Callable, Iterable, Iterator, MutableMapping

HEADER = "X-Request-Id"
TAG = "SELECT pg_logical_emit_message(true, 'shadow.request', %s), set_config('shadow.request', %s, true)"
"""The statement for drivers with `%s` parameters; both are the id. It returns one row, which is of no use."""

_COMMENTS = r"(?:\s|--[^\n]*\n|/\*.*?\*/)*"
_WRITE = re.compile(r"\b(INSERT|UPDATE|DELETE|MERGE|TRUNCATE|COPY|CALL|DO)\b", re.IGNORECASE)
_ROLLBACK = re.compile(_COMMENTS + r"ROLLBACK\b", re.IGNORECASE | re.DOTALL)
_PLAIN_WRITE = re.compile(
    _COMMENTS + r"(INSERT|UPDATE|DELETE|MERGE|TRUNCATE|COPY|WITH|SELECT)\b", re.IGNORECASE | re.DOTALL
)
_REQUEST: ContextVar[str] = ContextVar("shadow_request", default="")

WsgiApplication = Callable[[MutableMapping[str, Any], Callable[..., Any]], Iterable[bytes]]
AsgiApplication = Callable[[MutableMapping[str, Any], Callable[..., Any], Callable[..., Any]], Awaitable[None]]


def current_request_id() -> str:
    """Return the id of the request that this thread or task works on; "" outside of requests."""
    return _REQUEST.get()


def name_request(cursor: Any) -> None:
    """Name the running request in the open transaction of a DB-API cursor (psycopg, psycopg2); outside of requests do nothing.

    Call it once in each transaction, before it writes, and again after a rollback to a savepoint.
    """
    request_id = current_request_id()
    if request_id:
        cursor.execute(TAG, (request_id, request_id))


def writes(statement: str) -> bool:
    """Tell whether a statement may write. One that only mentions a writing word is named without need, which does no harm.

    A SELECT of a function that writes is not recognised: call `name_request` in its transaction.
    """
    return _WRITE.search(statement) is not None


def is_plain_write(statement: str) -> bool:
    """Tell whether a statement that writes can run in a transaction: it begins with none of the words that may commit by themselves."""
    return _PLAIN_WRITE.match(statement) is not None


def rolls_back(statement: str) -> bool:
    """Tell whether a statement is a rollback, also one to a savepoint."""
    return _ROLLBACK.match(statement) is not None


class RunningRequest:
    """Keep a request's id from `begin` to `end`, in the context of the thread or task that works on it."""

    def __init__(self, request_id: str) -> None:
        self._request_id = request_id
        self._before = ""

    def begin(self) -> None:
        """Set the id."""
        self._before = _REQUEST.get()
        _REQUEST.set(self._request_id)

    def end(self) -> None:
        """Restore the id from before."""
        _REQUEST.set(self._before)

    def __enter__(self) -> None:
        self.begin()

    def __exit__(self, *_: object) -> None:
        self.end()


class WsgiTagging:
    """WSGI middleware: the request's id is known until its response has been sent.

    `app.wsgi_app = WsgiTagging(app.wsgi_app)` in Flask, `application = WsgiTagging(application)` elsewhere.
    """

    def __init__(self, application: WsgiApplication) -> None:
        self._application = application

    def __call__(self, environ: MutableMapping[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Serve a request, as PEP 3333 calls it."""
        request = RunningRequest(environ.get("HTTP_X_REQUEST_ID", ""))
        with request:
            body = self._application(environ, start_response)
        return _TaggedBody(body, request)


class _TaggedBody:
    """A WSGI response's body. What produces it piece by piece, and what is done when it is closed, is of the request too.

    Servers make other requests' pieces in the same thread at best between two of ours, so the id is set for each piece.
    """

    def __init__(self, body: Iterable[bytes], request: RunningRequest) -> None:
        self._body = body
        self._pieces: Iterator[bytes] | None = None
        self._request = request

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        with self._request:
            if self._pieces is None:
                self._pieces = iter(self._body)
            return next(self._pieces)

    def close(self) -> None:
        """End the response, as PEP 3333 calls it."""
        close = getattr(self._body, "close", None)
        if close is not None:
            with self._request:
                close()


class AsgiTagging:
    """ASGI middleware: the request's id is known to its task, and to the tasks and worker threads that it starts.

    `app.add_middleware(AsgiTagging)` in Starlette and FastAPI, `application = AsgiTagging(application)` elsewhere.
    """

    def __init__(self, app: AsgiApplication) -> None:
        self._application = app

    async def __call__(
        self, scope: MutableMapping[str, Any], receive: Callable[..., Any], send: Callable[..., Any]
    ) -> None:
        """Serve a connection, as ASGI calls it."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        name = HEADER.lower().encode()
        values = [value for field, value in scope["headers"] if field.lower() == name]
        with RunningRequest(values[-1].decode("latin-1") if values else ""):
            await self._application(scope, receive, send)
