"""`shadow init` on real databases: every shape of table, documents that frameworks generate, and the command as a user calls it."""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import asyncpg
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.schemas import SchemaGenerator

from comparator.capture.settings import CaptureSettings
from comparator.effects.catalog_check import contradictions
from comparator.exchanges.model import Side
from comparator.verdict import Comparator
from proxy.cli import init
from proxy.config.loader import load
from proxy.config.settings import Settings
from proxy.demo.children import run_to_end
from proxy.errors import SettingsError
from proxy.initial_config.config_text import ConfigProposal, Instances, config_text, propose
from proxy.initial_config.fact_reading import read_facts
from proxy.initial_config.openapi import operations_of
from proxy.initial_config.table_facts import TableFacts
from proxy.serving.routing import compile_routes, match_route
from tests.support.paths import ROOT
from tests.zoo.inventory import SHAPES

EXAMPLE = ROOT / "docs" / "examples" / "orders" / "schema.sql"
URLS = {(side, role): "http://127.0.0.1:8001" for side in Side for role in ("live", "shadow")}
GENERATE = """
import json, django
django.setup()
from tests.legacy.api import api
print(json.dumps(api.get_openapi_schema(), default=str))
"""
TOUCHED = """
CREATE TABLE item (id bigserial PRIMARY KEY, sku text NOT NULL UNIQUE, touched timestamptz, code text DEFAULT md5(random()::text));
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.touched := clock_timestamp(); RETURN NEW; END $$;
CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON item FOR EACH ROW EXECUTE FUNCTION touch();
"""
LOG = '127.0.0.1 - - [30/Nov/2026:10:00:00 +0000] "{} HTTP/1.1" 200 12 "-" "curl/8"\n'


async def facts_of(dsn: str) -> tuple[TableFacts, ...]:
    conn = await asyncpg.connect(dsn)
    try:
        return await read_facts(conn, CaptureSettings())
    finally:
        await conn.close()


def valid(proposal: ConfigProposal, tables: Sequence[TableFacts]) -> Settings:
    """Return the settings of the proposed file, as every part of the product takes them."""
    settings = load(config_text(proposal, Instances(URLS, {}, Side.LEGACY, ())), {})
    compile_routes(settings.routes)
    Comparator(settings.compare)
    assert contradictions(settings.compare.tables, {one.name: one.shape.comparison_schema for one in tables}) == []
    return settings


async def test_the_proposal_for_every_shape_of_table_agrees_with_the_catalogue(database: str) -> None:
    conn = await asyncpg.connect(database)
    created: list[str] = []
    for shape in SHAPES:
        try:
            async with conn.transaction():
                await conn.execute(f"{shape.requires}; {shape.ddl}")
        except asyncpg.PostgresError:
            continue  # (a shape of another version of the server, or one that needs an extension or statements outside of a transaction)
        created += shape.tables
    await conn.close()
    tables = await facts_of(database)
    names = {table.name for table in tables}
    assert len(names) > 100
    assert len(set(created) & names) > 100

    valid(propose((), tables, tagged=()), tables)


async def test_defaults_and_triggers_of_a_real_table_say_what_may_differ(database: str) -> None:
    conn = await asyncpg.connect(database)
    await conn.execute(TOUCHED)
    await conn.close()
    tables = await facts_of(database)
    settings = valid(propose((), tables, tagged=()), tables)
    described = settings.compare.tables["item"]
    assert described.natural_key == ("sku",)
    assert {column: (v.within_ms, v.ignore) for column, v in described.volatile.items()} == {
        "touched": (60_000, False),
        "code": (None, True),
    }


async def test_document_generated_by_django_ninja() -> None:
    environment = {"DJANGO_SETTINGS_MODULE": "tests.legacy.settings", "PYTHONPATH": str(ROOT)}
    text = await run_to_end((sys.executable, "-c", GENERATE), environment, what="the generator")
    operations = operations_of(text.decode())
    proposal = propose(operations, (), tagged=())
    settings = valid(proposal, ())
    assert len(operations) == sum(len(route.methods) for route in settings.routes)
    assert ("POST", frozenset({"sub"})) in {(one.method, one.claims) for one in operations}
    routes = compile_routes(settings.routes)
    assert all(match_route(routes, one.method, one.template, {}.get)[0] is not None for one in operations)


def test_document_generated_by_starlette() -> None:
    def orders(_: Request) -> Response:
        """
        parameters: [{in: query, name: customer}]
        responses: {200: {description: orders}}
        """
        return Response()

    app = Starlette(
        routes=[Route("/customers/{customer:int}/orders", orders, methods=["GET"]), Route("/orders", orders)]
    )
    schema = SchemaGenerator({"openapi": "3.0.0", "info": {"title": "x", "version": "1"}}).get_schema(routes=app.routes)
    proposal = propose(operations_of(json.dumps(schema)), (), tagged=())
    valid(proposal, ())
    assert [(route.path, route.methods) for route in proposal.routes] == [
        ("/customers/{customer}/orders", ("GET",)),
        ("/orders", ("GET",)),
    ]


async def call(*words: str) -> int:
    """Run the command in a thread: it has an event loop of its own."""
    parser = argparse.ArgumentParser()
    init.configure(parser)
    return await asyncio.to_thread(init.run, parser.parse_args(words))


async def test_the_command_writes_a_file_that_the_other_commands_take(
    database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    conn = await asyncpg.connect(database)
    await conn.execute(EXAMPLE.read_text())
    await conn.close()
    log, path = tmp_path / "access.log", tmp_path / "config.yaml"
    requests = [f"{method} /customers/{name}/orders" for name in ("ann", "bob", "cyd") for method in ("GET", "POST")]
    log.write_text("".join(LOG.format(request) for request in [*requests, "GET /health"]))
    words = [
        "--legacy-live",
        "http://127.0.0.1:1",
        "--legacy-shadow",
        "http://127.0.0.1:1",
        "--candidate-shadow",
        "http://127.0.0.1:1",
    ]
    words += ["--live-dsn", database, "--recording", str(log), "--to", str(path)]

    assert await call(*words) == 0
    output = capsys.readouterr().out
    assert "2 routes of 3 operations, 2 tables with 1 volatile columns; most requests are about: customer" in output
    assert "legacy live       GET http://127.0.0.1:1/" in output
    assert "orders: the natural key is a guess" in output
    assert "shadow capture check --database live --apply" in output
    text = path.read_text()
    assert database not in text
    settings = load(text, {})
    assert [(route.path, route.methods, route.key) for route in settings.routes] == [
        ("/customers/{customer}/orders", ("GET", "POST"), "customer"),
        ("/health", ("GET",), ""),
    ]
    with pytest.raises(SettingsError, match="--force replaces it"):
        await call(*words)
    assert await call(*words, "--force") == 0


async def test_a_database_that_does_not_answer_is_named(tmp_path: Path) -> None:
    words = [
        option
        for name in ("legacy-live", "legacy-shadow", "candidate-shadow")
        for option in (f"--{name}", "http://127.0.0.1:1")
    ]
    with pytest.raises(SettingsError, match="the live database does not answer"):
        await call(*words, "--live-dsn", "postgresql://127.0.0.1:1/x", "--to", str(tmp_path / "config.yaml"))


def test_missing_urls_are_asked_for_at_a_terminal() -> None:
    parser = argparse.ArgumentParser()
    init.configure(parser)
    args = parser.parse_args(["--legacy-live", "http://a/"])
    asked: list[str] = []

    def ask(question: str) -> str:
        asked.append(question)
        return "" if "none yet" in question else "http://b"

    assert init.urls_of(args, ask) == {
        (Side.LEGACY, "live"): "http://a",
        (Side.LEGACY, "shadow"): "http://b",
        (Side.CANDIDATE, "shadow"): "http://b",
    }
    assert len(asked) == 3
    with pytest.raises(SettingsError, match="--legacy-shadow is required"):
        init.urls_of(args, None)
