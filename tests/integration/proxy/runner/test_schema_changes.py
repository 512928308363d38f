"""Tables that are redefined while the runner runs: what they affect is skipped, all else is compared, and it ends by itself."""

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import msgspec
import pytest
from aiohttp import ClientSession

from comparator.capture.settings import CaptureSettings, Driver
from comparator.exchanges.model import Side
from comparator.settings import CompareSettings
from comparator.tables import Table
from proxy.cli.main import main
from proxy.config.routes import RouteSettings
from proxy.config.runner import RunnerSettings
from proxy.demo.free_ports import free_port
from proxy.errors import SettingsError
from proxy.rollout.accounting import Samples, total
from proxy.runner.app import serve
from tests.support.matrix import sliced
from tests.support.mirror_lab import WRITTEN, MirrorLab, install_log, mirror_lab
from tests.support.mirroring import mirroring, outcomes, send_requests, settled
from tests.support.paths import ROOT
from tests.support.schema_lab import OWNER, SCHEMA, TABLES, SchemaLab, compared, paused, schema_lab, skipped
from tests.support.scraping import until

ORDERS = [(Driver.STREAM, "live"), (Driver.SQL, "shadow"), (Driver.TRIGGERS, "live")]
"""Drivers, with the database that is migrated first."""
WRITE_A = "INSERT INTO a (owner, v, w) VALUES ('{key}', 'v', 1)"
WRITE_B = "INSERT INTO b (owner, v) VALUES ('{key}', 'v'); "


@dataclass(frozen=True)
class Redefinition:
    """A change of table `a`.

    Attributes:
        ddl: the statements, on each database.
        before: what a request writes before it, and still while only one database has it.
        after: what a request writes when both have it.
        reason: what is said of it while live alone has it.
        captured: the tables to capture after it, in both databases; empty when nothing has to be done.
    """

    ddl: str
    before: str
    after: str
    reason: str
    captured: tuple[str, ...] = ()


def key_of(statement: str) -> str:
    """Return the key of a request: rows of the seed have another owner."""
    return "seed" if statement.startswith("UPDATE") else ""


REDEFINITIONS = {
    "column added": Redefinition(
        "ALTER TABLE a ADD COLUMN n integer DEFAULT 5",
        WRITE_A,
        "INSERT INTO a (owner, v, n) VALUES ('{key}', 'v', 9)",
        "a.n is integer in live and missing in the shadow",
    ),
    "column retyped": Redefinition(
        "ALTER TABLE a ALTER COLUMN n TYPE text USING n::text",
        "UPDATE a SET n = '3' WHERE id = 1",
        "INSERT INTO a (owner, v, n) VALUES ('{key}', 'v', 'text')",
        "a.n is text in live and integer in the shadow",
    ),
    "column renamed": Redefinition(
        "ALTER TABLE a RENAME COLUMN n TO m",
        WRITE_A,
        "UPDATE a SET m = '{key}' WHERE id = 2",
        "a.n is missing in live and text in the shadow",
    ),
    "columns swapped": Redefinition(
        "ALTER TABLE a RENAME m TO t; ALTER TABLE a RENAME v TO m; ALTER TABLE a RENAME t TO v",
        "UPDATE a SET v = '{key}' WHERE id = 3",
        "INSERT INTO a (owner, v, m) VALUES ('{key}', 'v', 'm')",
        "",
    ),
    "column dropped and another added": Redefinition(
        "ALTER TABLE a DROP COLUMN w, ADD COLUMN x integer",
        "INSERT INTO a (owner, v) VALUES ('{key}', 'v')",
        "UPDATE a SET x = 4 WHERE id = 4",
        "a.w is missing in live and integer in the shadow",
    ),
    "primary key changed": Redefinition(
        "ALTER TABLE a DROP CONSTRAINT a_pkey, ADD PRIMARY KEY (owner, id)",
        "UPDATE a SET x = 5 WHERE id = 5",
        "INSERT INTO a (owner, v) VALUES ('{key}', 'v')",
        "a is keyed by owner, id in live and keyed by id in the shadow",
    ),
    "table created again": Redefinition(
        "DROP TABLE a; CREATE TABLE a (id bigserial PRIMARY KEY, owner text NOT NULL, v text, w integer)",
        "INSERT INTO a (owner, v) VALUES ('{key}', 'v')",
        WRITE_A,
        "a is keyed by id in live and keyed by owner, id in the shadow",
        captured=("a", "b"),
    ),
    "renamed and swapped": Redefinition(
        "CREATE TABLE a_new (LIKE a INCLUDING ALL); INSERT INTO a_new SELECT * FROM a; "
        "ALTER TABLE a RENAME TO a_old; ALTER TABLE a_new RENAME TO a",
        WRITE_A,
        WRITE_A,
        "a is not captured in live and captured in the shadow",
        captured=("a", "a_old", "b"),
    ),
}


async def redefine(lab: SchemaLab, change: Redefinition, first: str) -> list[str]:
    """Make one change under traffic; return the requests on `b` that lost their row on purpose."""
    lost: list[str] = []
    for on in (first, "shadow" if first == "live" else "live"):
        await lab.request("a", change.before, key=key_of(change.before))
        await lab.migrate(change.ddl, on=on)
        await lab.request("a", change.before, key=key_of(change.before))
        await lab.request("b", WRITE_B)
        if on == first:
            samples = await lab.idle(lambda samples: "a" in paused(samples))
            status = (await lab.status())["schema"]["differs"]
            reasons = [reason for table in status if table["table"] == "a" for reason in table["reasons"]]
            assert not change.reason or first != "live" or change.reason in reasons
            await lab.request("a", change.before, key=key_of(change.before))
            request_id, _ = await lab.request("b", WRITE_B, instead=["SELECT 1 WHERE false"])
            lost.append(request_id)
    if change.captured:
        await lab.idle()
        await lab.capture(*change.captured)
    samples = await lab.resumed()
    before = compared(samples, "a")
    for _ in range(3):
        await lab.request("a", change.after, key=key_of(change.after))
    samples = await lab.resumed()
    assert compared(samples, "a") == before + 3
    return lost


@pytest.mark.parametrize(("driver", "first"), sliced(ORDERS, 1))
async def test_redefined_table_pauses_alone_and_goes_on_by_itself(
    postgres_dsn: str, tmp_path: Path, driver: Driver, first: str
) -> None:
    async with schema_lab(postgres_dsn, tmp_path, driver) as lab:
        lost: list[str] = []
        for name, change in REDEFINITIONS.items():
            lost += await redefine(lab, change, first)
            assert await lab.unequal("a", "b") == [], name
        samples = await lab.idle()
        assert set(skipped(samples, "a")) == {"schema_differs"}
        assert skipped(samples, "b") == {}
        verdicts = await lab.verdicts()
        assert [request_id for request_id, verdict in verdicts.items() if verdict != "match"] == lost
        assert total(samples, "shadow_errors_total") == 0


RENAMED_TABLES = {**TABLES, "a": Table(natural_key=("owner", "title"), keys=OWNER)}


@pytest.mark.parametrize("order", sliced(["definitions first", "descriptions first"], 1))
async def test_descriptions_and_definitions_change_in_any_order(postgres_dsn: str, tmp_path: Path, order: str) -> None:
    async with schema_lab(postgres_dsn, tmp_path, Driver.STREAM) as lab:
        await lab.request("a", WRITE_A)
        rules = CompareSettings(tables=RENAMED_TABLES)
        if order == "descriptions first":
            lab.rules.append(rules)
            await lab.idle(lambda s: total(s, "shadow_rules_reloads_total") == 1)
        for on in ("live", "shadow"):
            await lab.migrate("ALTER TABLE a RENAME COLUMN v TO title", on=on)
        if order == "definitions first":
            await lab.idle(lambda samples: "a" in paused(samples))
            lab.rules.append(rules)
        # Rules that name a column which is not there yet are refused once, and taken when it is there.
        loaded = 2 if order == "descriptions first" else 1
        await lab.idle(lambda s: total(s, "shadow_rules_reloads_total") == loaded)
        await lab.resumed()
        request_id, _ = await lab.request(
            "a",
            "INSERT INTO a (owner, title) VALUES ('{key}', 'same'), ('{key}', 'served')",
            instead=["INSERT INTO a (owner, title) VALUES ('{key}', 'same'), ('{key}', 'mirrored')"],
        )
        await lab.idle()
        verdicts = await lab.verdicts()
        assert [key for key, verdict in verdicts.items() if verdict == "mismatch"] == [request_id]
        assert await lab.unequal("a", "b") == []


async def test_table_that_appears_is_named_and_compared_once_it_is_captured(postgres_dsn: str, tmp_path: Path) -> None:
    async with schema_lab(postgres_dsn, tmp_path, Driver.STREAM) as lab:
        note = "CREATE TABLE note (id bigserial PRIMARY KEY, owner text, body text)"
        await lab.migrate(note, on="live")
        await lab.idle(lambda samples: paused(samples) == {"note"})
        write = "INSERT INTO note (owner, body) VALUES ('{key}', 'body')"
        _, status = await lab.request("note", write)
        assert status == 200
        await lab.idle()
        await lab.migrate(note, on="shadow")
        samples = await lab.resumed()
        assert skipped(samples, "note") == {"schema_differs": 1.0}
        assert samples["shadow_table_not_captured"] == {(("table", "note"),): 1.0}
        assert (await lab.status())["schema"]["not_captured"] == ["note"]
        await lab.capture("a", "b", "note")
        await lab.idle(lambda samples: not samples.get("shadow_table_not_captured"))
        samples = await lab.resumed()
        equal, _ = await lab.request("note", write)
        lost, _ = await lab.request("note", write, instead=["SELECT 1 WHERE false"])
        await lab.idle()
        verdicts = await lab.verdicts()
        assert verdicts == {equal: "match", lost: "mismatch"}
        assert await lab.unequal("a", "b", "note") == []


PARTITIONED = """
CREATE TABLE a (id bigserial, owner text NOT NULL, v text, w integer, PRIMARY KEY (id, w)) PARTITION BY RANGE (w);
CREATE TABLE a_1 PARTITION OF a FOR VALUES FROM (0) TO (10);
CREATE TABLE b (id bigserial PRIMARY KEY, owner text NOT NULL, v text);
"""


@pytest.mark.parametrize("driver", sliced([Driver.TRIGGERS, Driver.SQL], 1))
async def test_partition_that_is_attached_pauses_its_table(postgres_dsn: str, tmp_path: Path, driver: Driver) -> None:
    async with schema_lab(postgres_dsn, tmp_path, driver, schema=PARTITIONED) as lab:
        write = "INSERT INTO a (owner, v, w) VALUES ('{key}', 'v', 11)"
        await lab.request("a", write.replace("11", "1"))
        await lab.migrate("CREATE TABLE a_2 PARTITION OF a FOR VALUES FROM (10) TO (20)", on="live")
        await lab.request("a", write)
        await lab.idle(lambda samples: "a" in paused(samples))
        (table,) = (await lab.status())["schema"]["differs"]
        assert any("PARTITION FOR VALUES FROM (10) TO (20)" in reason for reason in table["reasons"])
        await lab.migrate(
            "CREATE TABLE a_2 (w integer NOT NULL, id bigint NOT NULL, v text, owner text NOT NULL)", on="shadow"
        )
        await lab.migrate("ALTER TABLE a ATTACH PARTITION a_2 FOR VALUES FROM (10) TO (20)", on="shadow")
        await lab.capture("a", "b")
        await lab.resumed()
        for _ in range(2):
            await lab.request("a", write)
        samples = await lab.resumed()
        assert set(skipped(samples, "a")) == {"schema_differs"}
        assert set((await lab.verdicts()).values()) == {"match"}
        assert await lab.unequal("a", "b") == []


@pytest.mark.parametrize("driver", sliced([Driver.STREAM, Driver.TRIGGERS, Driver.SQL], 1))
async def test_partition_that_is_emptied_by_itself_is_resynced(
    postgres_dsn: str, tmp_path: Path, driver: Driver
) -> None:
    schema = PARTITIONED + "CREATE TABLE a_2 PARTITION OF a FOR VALUES FROM (10) TO (20);"
    async with schema_lab(postgres_dsn, tmp_path, driver, schema=schema) as lab:
        write = "INSERT INTO a (owner, v, w) VALUES ('{key}', 'v', 1), ('{key}', 'v', 11)"
        compared_ids = {(await lab.request("a", statement))[0] for statement in (write, "TRUNCATE a", write)}
        await lab.idle()
        assert paused(await lab.scrape()) == set()
        await lab.request("purge", "TRUNCATE a_1", WRITE_B)
        samples = await lab.idle(lambda s: total(s, "shadow_resyncs_total", reason="schema") >= 1)
        await lab.migrate("TRUNCATE a_2", on="live")
        resynced = total(samples, "shadow_resyncs_total", reason="schema") + 1
        await lab.idle(lambda s: total(s, "shadow_resyncs_total", reason="schema") >= resynced)
        compared_ids.add((await lab.request("b", WRITE_B))[0])
        samples = await lab.resumed()
        assert skipped(samples, "purge") == {"schema_differs": 1.0}
        assert await lab.verdicts() == dict.fromkeys(compared_ids, "match")
        assert await lab.unequal("a", "b") == []


async def test_routes_that_declare_a_table_which_is_not_captured_are_skipped(postgres_dsn: str, tmp_path: Path) -> None:
    schema = SCHEMA + "CREATE UNLOGGED TABLE cache (owner text, v text);"
    routes = [RouteSettings(name="cached", path="/cached", methods=("POST",), tables=("cache", "a"))]
    async with schema_lab(postgres_dsn, tmp_path, Driver.STREAM, schema=schema, routes=routes) as lab:
        await lab.request("cached", "INSERT INTO cache VALUES ('{key}', 'v')", WRITE_A)
        equal, _ = await lab.request("a", WRITE_A)
        samples = await lab.idle()
        assert skipped(samples, "cached") == {"not_capturable": 1.0}
        assert await lab.verdicts() == {equal: "match"}
        assert await lab.unequal("a", "b") == []
        wrong = [RouteSettings(name="x", path="/x", tables=("nothing",))]
        runner = msgspec.structs.replace(lab.settings.runner, name="other", port=free_port())
        settings = msgspec.structs.replace(lab.settings, routes=tuple(wrong), runner=runner)
        with pytest.raises(SettingsError, match=r"routes\.x\.tables: no such table: nothing"):
            await serve(settings, {}, stop=asyncio.Event())


async def test_enumerated_value_and_constraint_on_one_side_pause_their_table(postgres_dsn: str, tmp_path: Path) -> None:
    schema = "CREATE TYPE mood AS ENUM ('sad'); " + SCHEMA + "ALTER TABLE a ADD COLUMN m mood;"
    async with schema_lab(postgres_dsn, tmp_path, Driver.STREAM, schema=schema) as lab:
        for ddl, write, reason in (
            ("ALTER TYPE mood ADD VALUE 'ok'", "INSERT INTO a (owner, m) VALUES ('{key}', 'ok')", "mood (sad, ok)"),
            ("ALTER TABLE a ADD UNIQUE (w)", "INSERT INTO a (owner, w) VALUES ('{key}', 1)", "UNIQUE (w)"),
        ):
            await lab.migrate(ddl, on="live")
            await lab.request("a", write)
            await lab.idle(lambda samples: "a" in paused(samples))
            assert reason in str((await lab.status())["schema"]["differs"])
            await lab.migrate(ddl, on="shadow")
            await lab.resumed()
        assert await lab.verdicts() == {}
        assert await lab.unequal("a", "b") == []


BLOCK = re.compile(r"^ *```sql\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


def runbook_steps() -> list[str]:
    """Return the SQL of each step of the procedure in RUNBOOK.md."""
    text = (ROOT / "RUNBOOK.md").read_text()
    section = text[text.index("## A migration of the database") :]
    return BLOCK.findall(section[: section.index("\n## ", 10)])


@pytest.mark.parametrize("driver", sliced([Driver.STREAM, Driver.TRIGGERS], 1))
async def test_procedure_of_the_runbook_works_under_traffic(postgres_dsn: str, tmp_path: Path, driver: Driver) -> None:
    expand, contract = runbook_steps()
    capture = CaptureSettings(driver=driver, tables=WRITTEN, poll_ms=20)
    runner = RunnerSettings(port=free_port(), clock_skew_ms=1, claim_wait_ms=500, tagged_sides=(Side.CANDIDATE,))
    async with mirror_lab(
        postgres_dsn, tmp_path, capture=capture, runner=runner, population=40, shared_every=0
    ) as made:
        if driver is Driver.TRIGGERS:
            await install_log(made.live_dsn, capture)
        counts: list[int] = []
        stop = asyncio.Event()
        async with mirroring(made), ClientSession() as session:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(traffic(made, session, stop, counts), name="traffic")
                for step in (expand, contract):
                    for dsn in (made.shadow_dsn, made.live_dsn):
                        await execute(dsn, step)
                        await until(runner.port, lambda s: "event" in paused(s) or "schema" in resync_reasons(s))
                    resumed = await until(runner.port, lambda s: not paused(s))
                    enough = total(resumed, "shadow_compared_total") + 20
                    await until(runner.port, lambda s, enough=enough: total(s, "shadow_compared_total") >= enough)
                stop.set()
            samples = await until(runner.port, lambda s: settled(s, sum(counts)))
            assert await outcomes(made) == {}
            assert skipped(samples, "score").get("schema_differs", 0) > 0
            assert total(samples, "shadow_errors_total") == 0
            both = ["--live", made.live_dsn, "--shadow", made.shadow_dsn]
            assert await asyncio.to_thread(main, ["align", "verify", *both]) == 0


async def traffic(made: MirrorLab, session: ClientSession, stop: asyncio.Event, counts: list[int]) -> None:
    """Send requests until told to stop; the number of each batch is added to `counts`."""
    while not stop.is_set():
        for side in Side:
            await send_requests(made, session, count=10, side=side)
            counts.append(10)


async def execute(dsn: str, statements: str) -> None:
    conn = await asyncpg.connect(dsn)
    try:
        await conn.execute(statements)
    finally:
        await conn.close()


def resync_reasons(samples: Samples) -> set[str]:
    return {dict(labels)["reason"] for labels in samples.get("shadow_resyncs_total", {})}
