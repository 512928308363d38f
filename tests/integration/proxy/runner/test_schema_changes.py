"""Tables that are redefined while the runner runs: what they affect is skipped, all else is compared, and it ends by itself."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from comparator.capture.settings import Driver
from proxy.rollout.accounting import total
from tests.support.schema_lab import SchemaLab, compared, paused, schema_lab, skipped

DRIVERS = [Driver.STREAM, Driver.SQL, Driver.TRIGGERS]
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


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("first", ["live", "shadow"])
async def test_redefined_table_pauses_alone_and_goes_on_by_itself(
    postgres_dsn: str, tmp_path: Path, driver: Driver, first: str
) -> None:
    async with schema_lab(postgres_dsn, tmp_path, driver) as lab:
        lost: list[str] = []
        for name, change in REDEFINITIONS.items():
            print(name)
            lost += await redefine(lab, change, first)
            assert await lab.unequal("a", "b") == [], name
        samples = await lab.idle()
        assert set(skipped(samples, "a")) == {"schema_differs"}
        assert skipped(samples, "b") == {}
        verdicts = await lab.verdicts()
        assert [request_id for request_id, verdict in verdicts.items() if verdict != "match"] == lost
        assert total(samples, "shadow_errors_total") == 0
