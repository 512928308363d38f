"""A small world for fault tests: people with really signed stamps in a database, a scorer over it, and raw requests."""

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg
from prometheus_client import CollectorRegistry

from comparator.exchanges.model import Failed, Response
from comparator.exchanges.row_changes import RowChange
from scorer.population import rows as population_rows
from scorer.population.people import FAR, ForeignLink, HeldStamp, Issuers, Person, PersonCase
from scorer.population.writing import write
from tests.golden import database
from tests.golden.scenario import Scenario
from tests.golden.wire import encoded, exchange

ISSUER = Issuers.of(1).trusted
TOKEN = "fault-token"
KEY = population_rows.KEY.text


@dataclass(slots=True)
class World:
    """A database with people. `tables` are those that are photographed."""

    dsn: str
    conn: asyncpg.Connection
    tables: Sequence[str]
    port: int = 0
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    async def settle(self, people: Iterable[Person]) -> None:
        """Replace the people in the database."""
        await database.seed(self.conn, Scenario("world", {}, {}, ()))
        await write(self.conn, population_rows.rows(people))

    async def photograph(self) -> database.Snapshot:
        """All rows now."""
        return await database.snapshot(self.conn, self.tables)

    async def changes_since(self, before: database.Snapshot) -> list[RowChange]:
        """Return the rows that differ from a snapshot."""
        return database.changes_between(before, await self.photograph())

    async def count(self, table: str, condition: str = "TRUE") -> int:
        """Rows of a table."""
        return await self.conn.fetchval(f"SELECT count(*) FROM {table} WHERE {condition}")

    async def ask(self, method: str, target: str, *, body: bytes | None = None, **headers: str) -> Response | Failed:
        """Send one request and wait for its response."""
        lines = [("Host", "localhost"), *((name.replace("_", "-"), value) for name, value in headers.items())]
        if body is not None:
            lines.append(("Content-Length", str(len(body))))
        return await exchange(self.port, encoded(method, target, lines, body or b""))

    async def score(self, address: str, *, community: int = 1, key: str = KEY) -> Response | Failed:
        """Ask for a score."""
        return await self.ask("GET", f"/v2/stamps/{community}/score/{address}", X_API_Key=key)

    async def score_all(self, addresses: Iterable[str], *, community: int = 1) -> list[Response | Failed]:
        """Ask for several scores at the same moment."""
        return await at_once(*(self.score(address, community=community) for address in addresses))

    async def add(self, address: str, credentials: Sequence[Mapping[str, Any]]) -> Response | Failed:
        """Add stamps as the embed widget does."""
        body = json.dumps({"scorer_id": 1, "stamps": list(credentials)}).encode()
        return await self.ask("POST", f"/internal/embed/stamps/{address}", body=body, Authorization=TOKEN)

    def metric(self, name: str, **labels: str) -> float:
        """Read a metric of the scorer."""
        return self.registry.get_sample_value(name, labels) or 0.0


async def at_once(*questions: Any) -> list[Response | Failed]:
    """Await all at the same moment; the answers in order."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(question, name=f"question-{i}") for i, question in enumerate(questions)]
    return [task.result() for task in tasks]


def environment(dsn: str, **more: str) -> dict[str, str]:
    """Return the environment of a scorer on this database."""
    return {
        "DATABASE_URL": dsn,
        "TRUSTED_IAM_ISSUERS": json.dumps([ISSUER.did]),
        "CGRANTS_API_TOKEN": TOKEN,
        "CERAMIC_CACHE_SCORER_ID": "1",
        "SECRET_KEY": "fault-secret-of-at-least-thirty-two-bytes",
        **more,
    }


def address(number: int) -> str:
    """Return the address of a number."""
    return f"0x{number:040x}"


def credential(number: int, provider: str, *nullifiers: str, expires: str = FAR) -> dict[str, Any]:
    """Sign a stamp of an address; its nullifier is its own unless given."""
    own = nullifiers or (f"v0:{provider}-{number}",)
    return ISSUER.issue(address(number), provider, own, expires=expires)


def person(number: int, *credentials: dict[str, Any], links: tuple[ForeignLink, ...] = ()) -> Person:
    """Somebody who holds these stamps."""
    held = tuple(HeldStamp(one["credentialSubject"]["provider"], one) for one in credentials)
    return Person(address(number), PersonCase.PASS, held, links)


def status(outcome: Response | Failed) -> int | str:
    """Return the status of a response, or the cause for which there is none."""
    return outcome.status if isinstance(outcome, Response) else str(outcome.cause)


def document(outcome: Response | Failed) -> Any:
    """Decode the JSON of a response."""
    assert isinstance(outcome, Response), outcome
    return json.loads(outcome.body)
