"""Name the request in the transactions of an SQLAlchemy engine on PostgreSQL: `tag_engine(engine)`, together with a middleware.

The statement that names the request goes ahead of the first one that writes in each transaction. Statements in the isolation level
AUTOCOMMIT have no transaction to be named in, and are left as they are.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import event, text
from sqlalchemy.engine import Connection, Engine

from shadow_tag.request_id import current_request_id, writes

_TAG = text("SELECT pg_logical_emit_message(true, 'shadow.request', :id), set_config('shadow.request', :id, true)")
_NAMED = "shadow_tag.named"


def tag_engine(engine: Engine) -> None:
    """Watch the transactions of an engine from now on; of an AsyncEngine give its `sync_engine`."""
    event.listen(engine, "begin", _forget)
    event.listen(engine, "rollback_savepoint", _forget)
    event.listen(engine, "before_cursor_execute", _before_execute)


def _forget(connection: Connection, *_: Any) -> None:
    """Note that the present transaction is not named: it begins, or a rollback to a savepoint has taken the name back."""
    connection.info.pop(_NAMED, None)


def _before_execute(connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
    request_id = current_request_id()
    if not request_id or connection.info.get(_NAMED) == request_id or not writes(statement):
        return
    if connection.dialect.name != "postgresql" or _commits_each_statement(connection):
        return
    connection.info[_NAMED] = request_id
    connection.execute(_TAG, {"id": request_id})


def _commits_each_statement(connection: Connection) -> bool:
    return bool(getattr(connection.connection.dbapi_connection, "autocommit", False))
