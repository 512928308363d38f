"""Tables of many shapes, on every version of PostgreSQL that is here: preparing them never harms live, and is taken back without a trace."""

import io
from collections.abc import Iterator
from dataclasses import dataclass

import asyncpg
import pytest

from comparator.capture.settings import CaptureSettings, Driver
from proxy.cli import capture as command
from proxy.cli.exit_codes import Exit
from tests.support import postgres
from tests.support.catalogue import catalogue, changed
from tests.support.matrix import rotated
from tests.zoo.clusters import cluster, versions

DRIVERS = (Driver.STREAM, Driver.SQL, Driver.TRIGGERS)


@dataclass(frozen=True)
class Shape:
    """A table, writes that live makes to it, and the reason for which it is not captured, "" for one that is."""

    ddl: str
    writes: tuple[str, ...]
    table: str = "t"
    refused: str = ""
    since: int = 0
    drivers: tuple[Driver, ...] = DRIVERS


SHAPES = {
    "ordinary": Shape(
        "CREATE TABLE t (id int PRIMARY KEY, v text)",
        ("INSERT INTO t VALUES (1, 'a')", "UPDATE t SET v = 'b'", "DELETE FROM t", "TRUNCATE t"),
    ),
    "no key": Shape("CREATE TABLE t (v text)", ("INSERT INTO t VALUES ('a')", "UPDATE t SET v = 'b'", "DELETE FROM t")),
    "no column": Shape("CREATE TABLE t ()", ("INSERT INTO t DEFAULT VALUES", "DELETE FROM t")),
    "types without equality": Shape(
        "CREATE TABLE t (a json, b point, c polygon)",
        ("INSERT INTO t VALUES ('{}', '(1,2)', NULL)", """UPDATE t SET a = '{"x": 1}'""", "DELETE FROM t"),
    ),
    "deferrable key": Shape(
        "CREATE TABLE t (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, v text)",
        ("INSERT INTO t VALUES (1, 'a')", "UPDATE t SET v = 'b'", "DELETE FROM t"),
    ),
    "identity by index before": Shape(
        "CREATE TABLE t (id int NOT NULL, v text); CREATE UNIQUE INDEX t_key ON t (id); ALTER TABLE t REPLICA IDENTITY USING INDEX t_key",
        ("INSERT INTO t VALUES (1, 'a')", "UPDATE t SET v = 'b'", "DELETE FROM t"),
    ),
    "identity of nothing before": Shape(
        "CREATE TABLE t (id int PRIMARY KEY); ALTER TABLE t REPLICA IDENTITY NOTHING",
        ("INSERT INTO t VALUES (1)", "UPDATE t SET id = 2", "DELETE FROM t"),
    ),
    "full identity before": Shape(
        "CREATE TABLE t (id int PRIMARY KEY); ALTER TABLE t REPLICA IDENTITY FULL",
        ("INSERT INTO t VALUES (1)", "UPDATE t SET id = 2", "DELETE FROM t"),
    ),
    "stored generated column": Shape(
        "CREATE TABLE t (id int PRIMARY KEY, n int, twice int GENERATED ALWAYS AS (n * 2) STORED)",
        ("INSERT INTO t (id, n) VALUES (1, 1)", "UPDATE t SET n = 2", "DELETE FROM t"),
    ),
    "virtual generated column": Shape(
        "CREATE TABLE t (id int PRIMARY KEY, n int, twice int GENERATED ALWAYS AS (n * 2) VIRTUAL)",
        ("INSERT INTO t (id, n) VALUES (1, 1)", "UPDATE t SET n = 2", "DELETE FROM t"),
        refused="virtual generated column",
        since=18,
    ),
    "stored generated column in another's publication": Shape(
        "CREATE TABLE t (id int PRIMARY KEY, n int, twice int GENERATED ALWAYS AS (n * 2) STORED); CREATE PUBLICATION theirs FOR TABLE t",
        ("INSERT INTO t (id, n) VALUES (1, 1)", "UPDATE t SET n = 2", "DELETE FROM t"),
        refused="live's writes would fail",
        since=18,
        drivers=(Driver.STREAM, Driver.SQL),
    ),
    "column list in another's publication": Shape(
        "CREATE TABLE t (id int PRIMARY KEY, v text); CREATE PUBLICATION listed FOR TABLE t (id)",
        ("INSERT INTO t VALUES (1, 'a')", "UPDATE t SET v = 'b'", "DELETE FROM t"),
        refused="live's writes would fail",
        drivers=(Driver.STREAM, Driver.SQL),
    ),
    "inheritance": Shape(
        "CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE kid (x int) INHERITS (t); CREATE TABLE grandkid () INHERITS (kid)",
        (
            "INSERT INTO kid VALUES (1, 'a', 1)",
            "INSERT INTO grandkid VALUES (2, 'a', 1)",
            "UPDATE t SET v = 'b'",
            "UPDATE kid SET v = 'c'",
            "DELETE FROM t",
            "TRUNCATE t",
        ),
    ),
    "partitions": Shape(
        "CREATE TABLE t (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);"
        "CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (10);"
        "CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM (10) TO (30) PARTITION BY RANGE (id);"
        "CREATE TABLE t_21 PARTITION OF t_2 FOR VALUES FROM (10) TO (20)",
        (
            "INSERT INTO t VALUES (1, 'a'), (11, 'b')",
            "UPDATE t SET v = 'c'",
            "UPDATE t SET id = 12 WHERE id = 1",
            "CREATE TABLE t_3 PARTITION OF t FOR VALUES FROM (30) TO (40)",
            "INSERT INTO t VALUES (31, 'a')",
            "UPDATE t SET v = 'd'",
            "DELETE FROM t",
            "TRUNCATE t",
            "DROP TABLE t_3",
        ),
    ),
    "partitions without a key": Shape(
        "CREATE TABLE t (id int, v text) PARTITION BY RANGE (id); CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (10)",
        ("INSERT INTO t VALUES (1, 'a')", "UPDATE t SET v = 'c'", "DELETE FROM t"),
        refused="no primary key that identifies rows",
    ),
    "one partition": Shape(
        "CREATE TABLE w (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE t PARTITION OF w FOR VALUES FROM (0) TO (10)",
        ("INSERT INTO w VALUES (1)", "UPDATE w SET id = 2", "DELETE FROM w"),
        refused="it is a partition of",
    ),
    "foreign partition": Shape(
        "CREATE FOREIGN DATA WRAPPER none_w; CREATE SERVER none_s FOREIGN DATA WRAPPER none_w;"
        "CREATE TABLE t (id int) PARTITION BY RANGE (id); CREATE FOREIGN TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (10) SERVER none_s;"
        "CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM (10) TO (20)",
        ("INSERT INTO t VALUES (11)", "UPDATE t_2 SET id = 12", "DELETE FROM t_2"),
        refused="t_1 is a foreign table",
    ),
    "unlogged": Shape(
        "CREATE UNLOGGED TABLE t (id int PRIMARY KEY)",
        ("INSERT INTO t VALUES (1)", "UPDATE t SET id = 2", "DELETE FROM t"),
        refused="t is unlogged",
        drivers=(Driver.STREAM, Driver.SQL),
    ),
    "unlogged, by triggers": Shape(
        "CREATE UNLOGGED TABLE t (id int PRIMARY KEY)",
        ("INSERT INTO t VALUES (1)", "UPDATE t SET id = 2", "DELETE FROM t"),
        drivers=(Driver.TRIGGERS,),
    ),
    "foreign table": Shape(
        "CREATE FOREIGN DATA WRAPPER nowhere; CREATE SERVER nowhere FOREIGN DATA WRAPPER nowhere; CREATE FOREIGN TABLE t (id int) SERVER nowhere",
        (),
        refused="foreign table",
    ),
    "view": Shape(
        "CREATE TABLE base (id int PRIMARY KEY); CREATE VIEW t AS SELECT * FROM base",
        ("INSERT INTO t VALUES (1)", "UPDATE t SET id = 2", "DELETE FROM t"),
        refused="it is a view",
    ),
    "view with triggers": Shape(
        "CREATE TABLE base (id int PRIMARY KEY); CREATE VIEW t AS SELECT id, 1 AS x FROM base GROUP BY id;"
        "CREATE FUNCTION put() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO base VALUES (NEW.id); RETURN NEW; END';"
        "CREATE TRIGGER put INSTEAD OF INSERT ON t FOR EACH ROW EXECUTE FUNCTION put()",
        ("INSERT INTO t VALUES (1)",),
        refused="it is a view",
    ),
    "materialized view": Shape(
        "CREATE MATERIALIZED VIEW t AS SELECT 1 AS id", ("REFRESH MATERIALIZED VIEW t",), refused="materialized view"
    ),
    "rules": Shape(
        "CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE audit (id int);"
        "CREATE RULE gone AS ON DELETE TO t DO INSTEAD UPDATE t SET v = 'gone' WHERE id = OLD.id;"
        "CREATE RULE seen AS ON UPDATE TO t DO ALSO INSERT INTO audit VALUES (NEW.id)",
        ("INSERT INTO t VALUES (1, 'a')", "UPDATE t SET v = 'b'", "DELETE FROM t"),
    ),
    "rule that does nothing": Shape(
        "CREATE TABLE t (id int PRIMARY KEY); CREATE RULE never AS ON UPDATE TO t DO INSTEAD NOTHING",
        ("INSERT INTO t VALUES (1)", "UPDATE t SET id = 2", "DELETE FROM t"),
    ),
    "statement triggers": Shape(
        "CREATE TABLE t (id int PRIMARY KEY); CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN RAISE EXCEPTION ''the application does not expect this''; END';"
        "CREATE TRIGGER never BEFORE DELETE OR UPDATE ON t FOR EACH STATEMENT EXECUTE FUNCTION refuse()",
        ("INSERT INTO t VALUES (1)",),
    ),
    "row level security": Shape(
        "CREATE TABLE t (id int PRIMARY KEY, v text); ALTER TABLE t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
        "CREATE POLICY own ON t USING (v = current_user)",
        ("INSERT INTO t VALUES (1, 'a')", "UPDATE t SET v = 'b'", "DELETE FROM t"),
    ),
    "generated identity": Shape(
        "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text)",
        ("INSERT INTO t (v) VALUES ('a')", "UPDATE t SET v = 'b'", "DELETE FROM t"),
    ),
    "name with a dot": Shape(
        'CREATE SCHEMA "s.1"; CREATE TABLE "s.1"."t.x" (id int PRIMARY KEY)',
        ('INSERT INTO "s.1"."t.x" VALUES (1)', 'UPDATE "s.1"."t.x" SET id = 2', 'DELETE FROM "s.1"."t.x"'),
        table='"s.1"."t.x"',
    ),
    "name with quotes and capitals": Shape(
        'CREATE TABLE "It is ""T""" ("Id" int PRIMARY KEY)',
        ('INSERT INTO "It is ""T""" VALUES (1)', 'UPDATE "It is ""T""" SET "Id" = 2', 'DELETE FROM "It is ""T"""'),
        table='"It is ""T"""',
    ),
}


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[tuple[int, str]]:
    with cluster(request.param) as dsn:
        yield request.param, dsn


@dataclass(frozen=True)
class PlacedShape:
    """A shape in a schema of its own. `table` is the name of its table in the configuration."""

    name: str
    shape: Shape
    schema: str

    @property
    def table(self) -> str:
        return self.shape.table if "." in self.shape.table else f"{self.schema}.{self.shape.table}"

    async def run(self, conn: asyncpg.Connection, statement: str) -> str:
        """Run a statement; return its error, "" for none."""
        try:
            await conn.execute(f"SET search_path = {self.schema}")
            await conn.execute(statement)
        except asyncpg.PostgresError as error:
            return f"{self.name}: {statement}: {error}"
        return ""


def placed(version: int, driver: Driver) -> list[PlacedShape]:
    """The shapes that this version and this driver have."""
    return [
        PlacedShape(name, shape, f"s{number}")
        for number, (name, shape) in enumerate(SHAPES.items())
        if version >= shape.since and driver in shape.drivers
    ]


async def create(conn: asyncpg.Connection, shapes: list[PlacedShape]) -> None:
    for placed_shape in shapes:
        await conn.execute(f"CREATE SCHEMA {placed_shape.schema}")
        assert await placed_shape.run(conn, placed_shape.shape.ddl) == ""


@pytest.mark.parametrize(
    ("server", "driver"),
    [(version, driver) for number, version in enumerate(versions()) for driver in rotated(number, DRIVERS)],
    indirect=["server"],
)
async def test_every_shape_is_captured_or_refused_by_name_and_live_is_never_harmed(
    server: tuple[int, str], driver: Driver
) -> None:
    version, server_dsn = server
    shapes = placed(version, driver)
    settings = CaptureSettings(driver=driver, tables=tuple(shape.table for shape in shapes))
    async with postgres.temporary_database(server_dsn) as dsn:
        conn = await asyncpg.connect(dsn)
        await create(conn, shapes)
        before = await catalogue(dsn)
        out = io.StringIO()
        assert await command.check(dsn, settings, apply=True, out=out) is Exit.NEGATIVE
        failed = [line.partition("  ")[2].strip() for line in out.getvalue().splitlines() if line.startswith("FAILED")]
        for one in shapes:
            about = [line for line in failed if line.startswith(f"table {one.table} ")]
            assert [one.shape.refused in line for line in about] == [True] * bool(one.shape.refused), (one.name, failed)
        assert len(failed) == sum(1 for one in shapes if one.shape.refused), failed
        assert [error for one in shapes for write in one.shape.writes if (error := await one.run(conn, write))] == []
        await command.remove(dsn, settings, out=io.StringIO())
        assert changed(before, await catalogue(dsn)) == {}
        await conn.close()
