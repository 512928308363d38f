"""One small service in several frameworks, each tagged by `shadow_tag`: `python -m tests.support.tagged_services KIND PORT DSN`.

Each has the same requests, by POST; what they write goes to `account (address)`, with the id of the request in the address:
`/atomic`: two rows in one transaction; `/autocommit`: two statements, each a transaction; `/savepoint`: a row, then one that is rolled
back to a savepoint, then a row; `/rollback`: a transaction that is rolled back, then one that commits; `/read` reads; `/stream` writes while the
response is sent.
"""

# ruff: noqa: PLC0415 (a process imports the framework that it runs)
# Django has no types.
# pyright: reportGeneralTypeIssues=false, reportAttributeAccessIssue=false, reportArgumentType=false

import asyncio
import contextlib
import sys
from collections.abc import Callable, Iterator

from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine

from shadow_tag.request_id import AsgiTagging, WsgiTagging
from shadow_tag.sqlalchemy import tag_engine

ADD = "INSERT INTO account (address) VALUES ({})"
READ = "SELECT count(*) FROM account"


class TakenBackError(Exception):
    """Roll the transaction back."""


def work_of_sqlalchemy(conn, path: str, row: Callable[[str], str]) -> None:
    """Do what a request asks for, in a connection that begins a transaction by its first statement."""

    def add(suffix: str) -> None:
        conn.execute(text(ADD.format(":address")), {"address": row(suffix)})

    match path:
        case "/atomic" | "/stream":
            add("a")
            add("b")
        case "/autocommit":
            add("a")
            conn.commit()
            add("b")
        case "/savepoint":
            with contextlib.suppress(TakenBackError), conn.begin_nested():
                add("x")
                raise TakenBackError
            add("a")
        case "/rollback":
            add("x")
            conn.rollback()
            add("a")
        case "/read":
            conn.execute(text(READ)).all()
    conn.commit()


def flask(dsn: str):
    """Flask with SQLAlchemy and psycopg."""
    import flask as framework

    engine = create_engine(dsn.replace("postgresql://", "postgresql+psycopg://"))
    tag_engine(engine)
    app = framework.Flask(__name__)

    @app.get("/health")
    def health() -> str:
        return "ok"

    @app.post("/<path>")
    def serve(path: str):
        name = framework.request.headers.get("X-Request-Id", "none")

        def work() -> None:
            with engine.connect() as conn:
                work_of_sqlalchemy(conn, f"/{path}", lambda suffix: f"{name}-{suffix}")

        def pieces() -> Iterator[str]:
            work()
            yield "done"

        if path == "stream":
            return framework.Response(pieces())
        work()
        return "done"

    app.wsgi_app = WsgiTagging(app.wsgi_app)  # type: ignore[method-assign]
    return app


def starlette(dsn: str):
    """Starlette with SQLAlchemy and asyncpg."""
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    engine = create_async_engine(dsn.replace("postgresql://", "postgresql+asyncpg://"))
    tag_engine(engine.sync_engine)

    async def health(_: Request) -> PlainTextResponse:
        return PlainTextResponse("ok")

    async def serve(request: Request) -> PlainTextResponse:
        name = request.headers.get("x-request-id", "none")
        async with engine.connect() as conn:
            await conn.run_sync(work_of_sqlalchemy, request.url.path, lambda suffix: f"{name}-{suffix}")
        return PlainTextResponse("done")

    routes = [Route("/health", health), Route("/{path}", serve, methods=["POST"])]
    return Starlette(routes=routes, middleware=[Middleware(AsgiTagging)])


def django(dsn: str, *, asynchronous: bool = False):
    """Django with its own connections, in autocommit mode."""
    import django as framework
    from django.conf import settings
    from django.core.asgi import get_asgi_application
    from django.core.wsgi import get_wsgi_application
    from django.db import connection, transaction
    from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
    from django.urls import re_path

    from tests.legacy.settings import database

    def work(path: str, name: str) -> None:
        def add(suffix: str) -> None:
            with connection.cursor() as cursor:
                cursor.execute(ADD.format("%s"), [f"{name}-{suffix}"])

        match path:
            case "/atomic" | "/stream":
                with transaction.atomic():
                    add("a")
                    add("b")
            case "/autocommit":
                add("a")
                add("b")
            case "/savepoint":
                with transaction.atomic():
                    with contextlib.suppress(TakenBackError), transaction.atomic():
                        add("x")
                        raise TakenBackError
                    add("a")
            case "/rollback":
                with contextlib.suppress(TakenBackError), transaction.atomic():
                    add("x")
                    raise TakenBackError
                with transaction.atomic():
                    add("a")
            case "/read":
                with connection.cursor() as cursor:
                    cursor.execute(READ)

    def serve(request: HttpRequest) -> HttpResponse:
        work(request.path, request.headers.get("X-Request-Id", "none"))
        return HttpResponse("done")

    async def serve_asynchronously(request: HttpRequest) -> HttpResponse:
        await asyncio.to_thread(work, request.path, request.headers.get("X-Request-Id", "none"))
        return HttpResponse("done")

    views = serve_asynchronously if asynchronous else serve
    urls = [re_path("^health$", lambda _: StreamingHttpResponse([b"ok"])), re_path("", views)]
    settings.configure(
        DATABASES={"default": database(dsn)},
        ROOT_URLCONF=type("Urls", (), {"urlpatterns": urls}),
        MIDDLEWARE=["shadow_tag.django.request_tagging"],
        ALLOWED_HOSTS=["*"],
        SECRET_KEY="of-a-test",
    )
    framework.setup()
    return get_asgi_application() if asynchronous else get_wsgi_application()


def main() -> None:
    """Serve until the process is ended."""
    kind, port, dsn = sys.argv[1:]
    if kind in ("starlette", "django_asgi"):
        import uvicorn

        app = starlette(dsn) if kind == "starlette" else django(dsn, asynchronous=True)
        uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="warning", lifespan="off")
    else:
        from werkzeug.serving import run_simple

        run_simple("127.0.0.1", int(port), flask(dsn) if kind == "flask" else django(dsn), threaded=True)


if __name__ == "__main__":
    main()
