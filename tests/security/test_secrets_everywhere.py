"""Some sixty kinds of secret, in every place of an exchange, are in nothing that is kept, exported, shown or logged."""

import gzip
import json
import logging
import random
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import msgspec
import pytest
from prometheus_client import CollectorRegistry

from comparator.errors import CaseError
from comparator.exchanges.comparison import Verdict
from comparator.exchanges.model import Effects, EffectsOutcome, Exchange, Observation, Request, Response, Role, Side
from comparator.exchanges.row_changes import LogicalMessage, Op, RowChange, Transaction
from comparator.metrics import ComparatorMetrics
from comparator.settings import CompareSettings, StoreSettings, Table
from comparator.store.comparison_detail import unpack
from comparator.store.ended import EndedBatch
from comparator.store.store import Store
from comparator.verdict import Comparator
from proxy.cli.main import main
from proxy.config.backends import BackendsSettings
from proxy.config.journal import JournalSettings
from proxy.journal.driver import JournalEntry
from proxy.journal.keys import load_keys
from proxy.journal.segment_reader import SegmentReader
from proxy.journal.segment_writer import SegmentWriter
from proxy.recordings.formats import WRITERS
from proxy.runner.mirror import MirrorResult
from proxy.runner.releases import ReleaseReader
from proxy.runner.result_buffer import Outcome
from proxy.runner.result_sink import ResultSink, redactor_of
from tests.support.comparisons import NOW

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJkaWQiOiJ4In0.{}"
PEM = "-----BEGIN {} PRIVATE KEY-----\n{}\n-----END {} PRIVATE KEY-----"
CARDS = ("4111111111111111", "5500 0000 0000 0004", "3782-822463-10005", "6011000990139424")


class Planted(NamedTuple):
    """An exchange with one secret at one place."""

    place: str
    secret: str
    request: Request
    response: Response
    row: dict[str, str | None] | None = None


def word(number: int) -> str:
    """Return a text that occurs nowhere else and that only its name can give away."""
    return f"hunter{number}zz"


def request(
    *headers: tuple[str, str], target: str = "/p", body: bytes = b"", kind: str = "application/json"
) -> Request:
    return Request("POST", target, (("Host", "api.example"), ("Content-Type", kind), *headers), body)


def response(*headers: tuple[str, str], body: bytes = b"{}", kind: str = "application/json") -> Response:
    return Response(200, (("Content-Type", kind), *headers), body)


HEADER_NAMES = [
    "X-API-Key",
    "X_Api_Key",
    "Api-Key",
    "X-Auth-Token",
    "X-Access-Token",
    "Authorization",
    "Proxy-Authorization",
    "Cookie",
    "X-Session-Id",
    "X-CSRF-Token",
    "X-Vault-Token",
    "Ocp-Apim-Subscription-Key",
    "X-Amz-Security-Token",
    "X-Client-Secret",
    "X-Forwarded-Authorization",
]
QUERY_NAMES = [
    "api_key",
    "apikey",
    "Api-Key",
    "access_token",
    "token",
    "password",
    "secret",
    "client_secret",
    "sessionId",
    "user[password]",
    "api%5Fkey",
]
MEMBER_NAMES = [
    "password",
    "token",
    "secret",
    "apiKey",
    "access_token",
    "refreshToken",
    "clientSecret",
    "private_key",
    "passwd",
    "passphrase",
    "otp",
    "cvv",
    "card_number",
    "session_id",
]
FORM_NAMES = ["password", "token", "secret", "api_key", "csrfmiddlewaretoken", "user[password]"]
COLUMNS = ["password_hash", "api_key", "reset_token", "secret", "session_id"]
ENFORCED = (
    ("token", lambda n: TOKEN.format(word(n))),
    ("private key", lambda n: PEM.format("RSA", f"MIIE{word(n)}", "RSA")),
    ("github", lambda n: f"ghp_{word(n)}abcdefghijklmnopqrst"),
    ("stripe", lambda n: f"sk_live_{word(n)}abcdef"),
    ("slack", lambda n: f"xoxb-{word(n)}-abcdef"),
    ("bearer", lambda n: f"Bearer {word(n)}"),
    ("userinfo", lambda n: f"postgres://user:{word(n)}@db/x"),
)


def planted() -> Iterator[Planted]:
    """Yield exchanges with a secret each: by name in every place that has names, by its looks in every place that has text."""
    number = 0

    def secret() -> str:
        nonlocal number
        number += 1
        return word(number)

    for name in HEADER_NAMES:
        yield Planted(f"header {name}", s := secret(), request((name, s)), response())
    for name in ("Set-Cookie", "X-Refresh-Token"):
        yield Planted(f"response header {name}", s := secret(), request(), response((name, f"{s}; Path=/")))
    for name in QUERY_NAMES:
        yield Planted(f"query {name}", s := secret(), request(target=f"/p?x=1&{name}={s}&y=2"), response())
        yield Planted(
            f"Referer {name}", s := secret(), request(("Referer", f"https://h/a?x=1&{name}={s}#top")), response()
        )
    yield Planted("matrix", s := secret(), request(target=f"/p;token={s};x=1/q"), response())
    yield Planted("Location", s := secret(), request(), response(("Location", f"/done?api_key={s}")))
    yield Planted(
        "nested address", s := secret(), request(target=f"/p?next=https%3A%2F%2Fh%3Fapi_key%3D{s}"), response()
    )
    for name in MEMBER_NAMES:
        body = json.dumps({"user": [{"x": 1, name: (s := secret())}]}).encode()
        yield Planted(f"json {name}", s, request(body=body), response())
        yield Planted(f"json response {name}", s := secret(), request(), response(body=json.dumps({name: s}).encode()))
    cut = b'{"x": 1, "password": "' + (s := secret()).encode()
    yield Planted("cut json", s, replace(request(body=cut), body_truncated=True), response())
    text = json.dumps({"payload": json.dumps({"password": (s := secret())})}).encode()
    yield Planted("json in json", s, request(body=text), response())
    packed = gzip.compress(json.dumps({"password": (s := secret())}).encode())
    yield Planted(
        "gzip",
        s,
        request(("Content-Encoding", "gzip"), body=packed),
        response(("Content-Encoding", "gzip"), body=packed),
    )
    form = "application/x-www-form-urlencoded"
    for name in FORM_NAMES:
        yield Planted(
            f"form {name}", s := secret(), request(body=f"a=1&{name}={s}&b=2".encode(), kind=form), response()
        )
        part = f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{(s := secret())}\r\n--b--\r\n'.encode()
        yield Planted(f"multipart {name}", s, request(body=part, kind="multipart/form-data; boundary=b"), response())
    xml = f"<login><password>{(s := secret())}</password></login>".encode()
    yield Planted("xml", s, request(body=xml, kind="application/xml"), response())
    for column in COLUMNS:
        yield Planted(f"column {column}", s := secret(), request(), response(), {"id": "1", column: s})
    yield Planted("json column", s := secret(), request(), response(), {"id": "1", "data": json.dumps({"token": s})})
    for kind, make in ENFORCED:
        number += 1
        value, s = make(number), word(number)
        yield Planted(f"{kind} in a header", s, request(("X-Note", value.replace("\n", " "))), response())
        yield Planted(f"{kind} in json", s, request(body=json.dumps({"note": value}).encode()), response())
        yield Planted(f"{kind} in text", s, request(body=f"see {value} here".encode(), kind="text/plain"), response())
        yield Planted(f"{kind} in a row", s, request(), response(), {"id": "1", "note": value})
    for card in CARDS:
        yield Planted("card in json", card, request(body=json.dumps({"note": card}).encode()), response())
        yield Planted("card in a form", card, request(body=f"note={card}".encode(), kind=form), response())
        yield Planted("card in a row", card, request(), response(), {"id": "1", "note": card})
    yield Planted("card as a number", CARDS[0], request(body=b'{"note": 4111111111111111}'), response())


PLANTED = list(planted())
WORDS = re.compile(rb"(?i)hunter\d+zz")


def test_plant_has_at_least_sixty_kinds() -> None:
    assert len({item.place for item in PLANTED}) >= 60
    assert all(item.secret for item in PLANTED)


def exchange_of(index: int, item: Planted) -> Exchange:
    # (the ordering key is often a secret itself; of rows it comes from the request)
    key = item.secret.lower() if item.row is None else "0xab"
    return Exchange(
        f"id-{index}",
        "p",
        key,
        Side.LEGACY,
        "legacy",
        10**18,
        10**18 + index,
        item.request,
        item.response,
    )


def secrets_in(data: bytes) -> set[bytes]:
    return {match.lower() for match in WORDS.findall(data)} | {
        card for card in map(str.encode, CARDS) if re.search(rb"(?<![\w.])" + card + rb"(?!\w)", data)
    }


@pytest.fixture(params=["seal", "digest"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> JournalSettings:
    """A journal that holds all of them."""
    settings = msgspec.convert(
        {"directory": str(tmp_path / "journal"), "redaction": {"mode": request.param}}, JournalSettings
    )
    writer = SegmentWriter(settings, environ={})
    writer.start()
    assert all(writer.append(exchange_of(index, item)) for index, item in enumerate(PLANTED))
    writer.close()
    assert writer.counts.written == len(PLANTED)
    return settings


def entries_of(settings: JournalSettings) -> list[JournalEntry]:
    directory = Path(settings.directory)
    with SegmentReader(directory, "mirror", keys=load_keys(directory, {})) as reader:
        return reader.take(len(PLANTED) + 1)


def test_no_secret_is_on_the_disk_shown_or_exported(
    journal: JournalSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    where = ["journal", "--directory", journal.directory, "--config", str(tmp_path / "none.yaml")]
    kept = b"\n".join(path.read_bytes() for path in Path(journal.directory).rglob("*") if path.is_file())
    assert secrets_in(kept) == set()
    assert main([*where, "cat"]) == 0
    shown = capsys.readouterr()
    assert shown.out.count("\n") == len(PLANTED)
    assert secrets_in(shown.out.encode()) == set()
    for name in WRITERS:
        main([*where, "export", "--to", name, "--out", str(tmp_path / f"out.{name}")])
        assert secrets_in((tmp_path / f"out.{name}").read_bytes()) == set(), name
    for action in ("ls", "stats", "verify", "scan"):
        main([*where, action])
    main([*where, "keys", "list"])
    output = capsys.readouterr()
    assert secrets_in(f"{output.out}{output.err}{caplog.text}".encode()) == set()


def test_no_place_is_missed_by_the_redaction_of_the_journal(
    journal: JournalSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["journal", "--directory", journal.directory, "cat"])
    lines = {document["id"]: line for line in capsys.readouterr().out.splitlines() for document in [json.loads(line)]}
    leaks = [
        item.place for index, item in enumerate(PLANTED) if item.row is None and item.secret in lines[f"id-{index}"]
    ]
    assert leaks == []


def observed(item: Planted, role: Role) -> Observation:
    """Return what a side did; the mirrored side differs in everything that has a value."""
    served = role is Role.SERVED
    outcome = (
        item.response if served else Response(201, (*item.response.headers, ("X-Api-Key", item.secret)), b'{"x":1}')
    )
    transactions: tuple[Transaction, ...] = ()
    if item.row is not None and served:
        change = RowChange("note", Op.INSERT, None, item.row)
        transactions = (
            Transaction(1, 1, 2, 10**15, (change,), (LogicalMessage("app", f"password={item.secret}"),), ""),
        )
    return Observation(
        Side.LEGACY if served else Side.CANDIDATE,
        role,
        outcome,
        1_000,
        Effects(EffectsOutcome.ATTRIBUTED, transactions),
    )


async def test_no_secret_is_in_the_store_in_cases_or_shown_from_it(
    tmp_path: Path, database: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    settings = msgspec.convert({"directory": str(tmp_path / "journal")}, JournalSettings)
    compare = CompareSettings(tables={"note": Table(natural_key=("id",))})
    batch: list[Outcome] = []
    for index, item in enumerate(PLANTED):
        served, mirrored = observed(item, Role.SERVED), observed(item, Role.MIRRORED)
        result = Comparator(compare).compare("p", served, mirrored, now=NOW)
        assert result.verdict is Verdict.MISMATCH
        batch.append(Outcome(entry_of(index, item), MirrorResult(served, mirrored, result), None))
    async with Store(database, StoreSettings(timeout_s=10), random.Random(1)) as store:
        await store.maintain(NOW)
        sink = ResultSink(
            store,
            compare,
            redactor_of(compare, settings.redaction, b"salt"),
            b"salt",
            metrics=ComparatorMetrics(CollectorRegistry(), ["p"], compare.tables),
            ended=lambda exchanges: EndedBatch("mirror", exchanges, {}),
            releases=ReleaseReader.of(BackendsSettings()),
        )
        await sink.save(batch)
    kept = await tables(database)
    assert kept.count(b"api.example") > 10
    assert secrets_in(kept) == set()
    assert secrets_in(f"{capsys.readouterr()}{caplog.text}".encode()) == set()


def entry_of(index: int, item: Planted) -> JournalEntry:
    class Position(NamedTuple):
        sequence: int

    return JournalEntry(Position(index + 1), index + 1, exchange_of(index, item), None, "w0", index + 1)


async def tables(dsn: str) -> bytes:
    """Return everything in the store, decompressed."""
    conn = await asyncpg.connect(dsn)
    try:
        names = await conn.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'shadow'")
        rows = [row for name in names for row in await conn.fetch(f"SELECT * FROM shadow.{name[0]}")]
    finally:
        await conn.close()
    return b"\n".join(_content(cell) for row in rows for cell in row.values())


def _content(cell: Any) -> bytes:
    if not isinstance(cell, bytes):
        return str(cell).encode()
    try:
        return unpack(cell)
    except CaseError:
        # A sketch of numbers, which is not compressed.
        return cell
