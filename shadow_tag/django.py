"""Name the request on the PostgreSQL connections of Django: `MIDDLEWARE = ["shadow_tag.django.request_tagging", ...]`.

In a transaction the statement that names the request goes ahead of the first one that writes. In autocommit mode, Django's default, a
write and its name are made one transaction, which commits with the write as before; CALL and DO, which may commit by themselves, are left
as they are then. Django 3.1 or later, psycopg or psycopg2.
"""

# Django has no types.
# pyright: basic, reportGeneralTypeIssues=false, reportDeprecated=false

from __future__ import annotations

from typing import Any, Callable

from django.db import connections, transaction
from django.db.backends.signals import connection_created
from django.utils.decorators import sync_and_async_middleware

from shadow_tag.request_id import (
    HEADER,
    RunningRequest,
    current_request_id,
    is_plain_write,
    name_request,
    rolls_back,
    writes,
)

try:
    from asgiref.sync import iscoroutinefunction
except ImportError:  # asgiref before 3.6, of Django before 4.2
    from asyncio import iscoroutinefunction

_IDLE = 0  # TRANSACTION_STATUS_IDLE of libpq, as psycopg and psycopg2 return it


@sync_and_async_middleware
def request_tagging(get_response: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Django middleware, for synchronous and asynchronous views. The first one of the list covers what the others write, too."""
    connection_created.connect(_watch_created, dispatch_uid="shadow_tag")
    for connection in connections.all():
        _watch(connection)

    def serve(request: Any) -> Any:
        with RunningRequest(request.headers.get(HEADER, "")):
            return get_response(request)

    async def serve_asynchronously(request: Any) -> Any:
        with RunningRequest(request.headers.get(HEADER, "")):
            return await get_response(request)

    return serve_asynchronously if iscoroutinefunction(get_response) else serve


def _watch_created(connection: Any, **_: Any) -> None:
    _watch(connection)


def _watch(connection: Any) -> None:
    """Have the statements of a connection watched, once, however often it is opened again."""
    wrappers = connection.execute_wrappers
    if connection.vendor == "postgresql" and not any(isinstance(wrapper, _StatementTagging) for wrapper in wrappers):
        # (first in the list is outermost; `connection.execute_wrapper` of others takes off the last)
        wrappers.insert(0, _StatementTagging())


class _StatementTagging:
    """An execute wrapper of one connection; it remembers the id by which the open transaction is named."""

    def __init__(self) -> None:
        self._named = ""

    def __call__(self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any) -> Any:
        connection, statement, request_id = context["connection"], str(sql), current_request_id()
        if _begins_transaction(connection) or rolls_back(statement):
            self._named = ""
        if not request_id or self._named == request_id or not writes(statement):
            return execute(sql, params, many, context)
        if connection.get_autocommit():
            if not is_plain_write(statement):
                return execute(sql, params, many, context)
            with transaction.atomic(using=connection.alias, savepoint=False):
                _name(connection)
                return execute(sql, params, many, context)
        _name(connection)
        self._named = request_id
        return execute(sql, params, many, context)


def _begins_transaction(connection: Any) -> bool:
    opened = connection.connection
    return opened is None or opened.info.transaction_status == _IDLE


def _name(connection: Any) -> None:
    """Name the request by a cursor of the driver, which no wrapper sees and no result is read from."""
    with connection.connection.cursor() as cursor:
        name_request(cursor)
