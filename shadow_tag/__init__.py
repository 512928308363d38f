"""Name the request in each transaction that writes, for a side in Python that does not do it by itself.

    request  --X-Request-Id-->  request_id     WSGI and ASGI middlewares: keep the id while the request runs, and the SQL
                                     |
                        +------------+------------+
                        |                         |
                     django                   sqlalchemy         before the first write of each transaction:
               (its connections)            (its engines)        SELECT pg_logical_emit_message(true, 'shadow.request', id), ...

A side that does so goes into `runner.tagged_sides`; two of its requests on one key at the same time can then be told apart. Nothing but
the standard library and the framework that a module is named after is imported, so that a service may use Python 3.8 and later.

- `request_id`: the id of the running request, WSGI and ASGI middlewares, and `name_request` for a cursor of one's own.
- `django`: a middleware that names the request on all PostgreSQL connections of Django, in autocommit mode too.
- `sqlalchemy`: the same for an engine of SQLAlchemy, synchronous or not.
"""
