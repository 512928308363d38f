"""The same writes to tables of many shapes arrive alike through every driver: whole rows, under the name of the table that is configured."""

import asyncio

import asyncpg

from comparator.capture import trigger_log
from comparator.capture.publication import prepare
from comparator.capture.settings import Driver
from comparator.exchanges.row_changes import RowChange
from tests.support import captured_database

SCHEMA = """
CREATE SCHEMA "s.1"; CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TABLE keyless (a int, b json);
CREATE TABLE deferrable_key (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, v text);
CREATE TABLE parts (id int PRIMARY KEY, v text, w mood) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
CREATE TABLE parts_2 (w mood, dropped int, v text, id int NOT NULL); ALTER TABLE parts_2 DROP COLUMN dropped;
ALTER TABLE parts ATTACH PARTITION parts_2 FOR VALUES FROM (10) TO (20);
CREATE TABLE parent (id int PRIMARY KEY, v text); CREATE TABLE child (x int) INHERITS (parent);
CREATE TABLE "s.1"."T.x" (id int PRIMARY KEY, "V" money, b bytea);
CREATE TABLE ruled (id int PRIMARY KEY, v text);
CREATE RULE soft AS ON DELETE TO ruled DO INSTEAD UPDATE ruled SET v = 'gone' WHERE id = OLD.id;
"""
TABLES = ("keyless", "deferrable_key", "parts", "parent", '"s.1"."T.x"', "ruled")
WRITES = """
INSERT INTO keyless VALUES (1, '{"a": 1}'), (1, '{"a": 1}'); UPDATE keyless SET a = 2 WHERE ctid = '(0,1)'; DELETE FROM keyless WHERE a = 1;
INSERT INTO deferrable_key VALUES (1, 'a'), (2, 'b'); UPDATE deferrable_key SET id = 3 - id; DELETE FROM deferrable_key;
INSERT INTO parts VALUES (1, 'a', 'ok'), (11, 'b', 'sad'); UPDATE parts SET v = 'c'; UPDATE parts SET id = 12 WHERE id = 1;
DELETE FROM parts WHERE id = 11; TRUNCATE parts;
INSERT INTO parent VALUES (1, 'p'); INSERT INTO child VALUES (1, 'c', 2); UPDATE parent SET v = 'both'; DELETE FROM ONLY parent;
INSERT INTO "s.1"."T.x" VALUES (1, '1.50', 'x'); UPDATE "s.1"."T.x" SET b = NULL; TRUNCATE "s.1"."T.x";
INSERT INTO ruled VALUES (1, 'here'); DELETE FROM ruled;
"""


def written(changes: list[RowChange]) -> list[str]:
    """The changes as text, in order; columns by name, because the change log has a partition's own order."""
    images = [[dict(sorted(image.items())) if image else None for image in (c.before, c.after)] for c in changes]
    return [f"{c.table} {c.op}: {before} -> {after}" for c, (before, after) in zip(changes, images, strict=True)]


async def test_every_driver_delivers_the_same_whole_rows(database: str) -> None:
    conn = await asyncpg.connect(database)
    await conn.execute(SCHEMA)
    await conn.execute("SET lc_monetary = 'C'; SET bytea_output = 'escape'")
    stream, by_sql, triggers = [
        captured_database.settings(driver, tables=TABLES) for driver in (Driver.STREAM, Driver.SQL, Driver.TRIGGERS)
    ]
    await prepare(conn, stream, TABLES)
    await trigger_log.install(conn, triggers, TABLES)
    async with (
        captured_database.started_capture(database, stream) as (one, from_stream),
        captured_database.started_capture(database, by_sql) as (two, from_sql),
        captured_database.started_capture(database, triggers) as (three, from_triggers),
    ):
        for statement in filter(str.strip, WRITES.split(";")):
            await conn.execute(statement)
        await asyncio.gather(one.fence(), two.fence(), three.fence())
        expected = written(from_stream.changes)
        assert written(from_sql.changes) == expected
        assert written(from_triggers.changes) == expected
    assert "keyless delete: {'a': '1', 'b': '{\"a\": 1}'} -> None" in expected
    assert "parts insert: None -> {'id': '12', 'v': 'c', 'w': 'ok'}" in expected
    assert "parts delete: {'id': '11', 'v': 'c', 'w': 'sad'} -> None" in expected
    assert "parts truncate: None -> None" in expected
    assert "child update: {'id': '1', 'v': 'c', 'x': '2'} -> {'id': '1', 'v': 'both', 'x': '2'}" in expected
    assert "parent delete: {'id': '1', 'v': 'both'} -> None" in expected
    assert '"s.1"."T.x" insert: None -> {' + "'V': '$1.50', 'b': '\\\\x78', 'id': '1'}" in expected
    assert "ruled update: {'id': '1', 'v': 'here'} -> {'id': '1', 'v': 'gone'}" in expected
    await conn.close()
