"""Control characters of traffic never reach a terminal raw, whichever command shows them."""

import asyncio
import os
import random
import re
import subprocess
import sys
import threading
import tty
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import yaml

from comparator.exchanges.difference import Difference, Kind
from comparator.exchanges.model import Response
from comparator.exchanges.visible_text import visible
from comparator.settings import StoreSettings, Table
from comparator.store import causes, queries
from comparator.store.causes import refresh_causes
from comparator.store.store import Store
from proxy.cli.main import main
from proxy.config.journal import JournalSettings
from proxy.journal.registry import open_writer
from tests.support.comparisons import NOW, exchange_with
from tests.support.exchanges import exchange
from tests.support.paths import ROOT

HOSTILE = "a\x1b]0;owned\x07\x1b[2J\x9b31m\x85\u202egnp.exe\u2066\r\x7fz"
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


@contextmanager
def terminal() -> Generator[tuple[int, Callable[[], str]]]:
    """Open a terminal; yield its descriptor and the function that closes it and returns all that was written to it."""
    master, slave = os.openpty()
    tty.setraw(slave)
    parts: list[bytes] = []

    def drain() -> None:
        while True:
            try:
                data = os.read(master, 65536)
            except OSError:
                return
            if not data:
                return
            parts.append(data)

    thread = threading.Thread(target=drain)
    thread.start()
    closed = False

    def close() -> str:
        nonlocal closed
        if not closed:
            closed = True
            os.close(slave)
            thread.join()
            os.close(master)
        return b"".join(parts).decode("utf-8", "surrogateescape")

    try:
        yield slave, close
    finally:
        close()


def shown(monkeypatch: pytest.MonkeyPatch, *words: str) -> str:
    """Run a command whose output is a terminal; return what arrives there."""
    with terminal() as (slave, close):
        with monkeypatch.context() as patched, os.fdopen(os.dup(slave), "w", encoding="utf-8") as stream:
            patched.setattr(sys, "stdout", stream)
            patched.setattr(sys, "stderr", stream)
            # (argparse ends so)
            with suppress(SystemExit):
                main(list(words))
            stream.flush()
        return close()


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    directory = tmp_path / "journal"
    writer = open_writer(JournalSettings(directory=str(directory)), {})
    writer.start()
    headers = (("Host", "api.example"), ("X-Note", HOSTILE))
    assert writer.append(
        exchange(
            "hostile",
            target=f"/{HOSTILE}",
            headers=headers,
            body=HOSTILE.encode(),
            outcome=Response(200, headers, HOSTILE.encode()),
        )
    )
    writer.close()
    return directory


def test_hostile_value_is_raw_where_nothing_makes_it_visible() -> None:
    assert RAW.search(HOSTILE)
    assert not RAW.search(visible(HOSTILE))
    assert visible("tab\tand line\n", lines=True) == "tab\tand line\n"
    assert visible("\ud800") == "\\ud800"


@pytest.mark.parametrize(
    "words",
    [
        ("cat",),
        ("cat", "--unseal"),
        ("stats",),
        ("scan",),
        *(("export", "--to", name) for name in ("ndjson", "har", "gor", "vegeta")),
    ],
    ids=" ".join,
)
def test_journal_shows_no_control_character(
    journal: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    output = shown(monkeypatch, "journal", "--directory", str(journal), *words)
    assert output
    assert RAW.findall(output) == []


def test_output_of_a_real_process(journal: Path) -> None:
    with terminal() as (slave, close):
        words = ["-m", "proxy", "journal", "--directory", str(journal), "cat", "--unseal"]
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, *words], check=False, stdin=slave, stdout=slave, stderr=slave, env=environ, timeout=300
        )
        output = close()
    assert done.returncode == 0
    assert "gnp.exe" in output
    assert RAW.findall(output) == []


@pytest.mark.parametrize(
    "words",
    [
        ("journal", "ls", "--directory", f"/{HOSTILE}"),
        ("compare", f"/{HOSTILE}"),
        ("replay", f"/{HOSTILE}", "--to", "legacy"),
        ("promote", HOSTILE),
        ("history", "--config", f"/{HOSTILE}"),
        (HOSTILE,),
    ],
    ids=["journal", "compare", "replay", "promote", "history", "none"],
)
def test_errors_show_no_control_character(monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]) -> None:
    output = shown(monkeypatch, *words)
    assert "gnp.exe" in output
    assert RAW.findall(output) == []


def test_pipe_gets_the_bytes_as_they_are(journal: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["journal", "--directory", str(journal), "export", "--to", "gor"]) == 0
    assert "\x1b" in capfd.readouterr().out


@pytest.fixture
async def config(tmp_path: Path, database: str) -> tuple[Path, str, str]:
    """A configuration with a store that holds hostile values; the ids of a finding and of a cause."""
    differences = (
        Difference(Kind.CHANGED, (HOSTILE, "x"), HOSTILE, f"{HOSTILE}!"),
        Difference(Kind.HEADER, ("x-note",), HOSTILE, "other"),
        Difference(Kind.EXTRA_ROW, (), mirrored={"id": HOSTILE}, table="note", natural_key=(HOSTILE,)),
    )
    async with Store(database, StoreSettings(timeout_s=10), random.Random(7)) as store:
        await store.maintain(NOW)
        tables = {"note": Table(natural_key=("id",), discriminator=("id",))}
        await store.add([exchange_with(f"x{key}", *differences, key=key, tables=tables) for key in range(5)])
        async with store.connection() as conn:
            await refresh_causes(conn, now=NOW, force=True)
            finding = (await queries.findings(conn, limit=1))[0].id
            cause = (await causes.causes(conn, all_causes=True, limit=1)).causes[0].id
    path = tmp_path / "config.yaml"
    document = {
        "databases": {"store": database},
        "journal": {"directory": str(tmp_path / "journal")},
        "admin": {"port": 1},
        "runner": {"port": 1},
    }
    path.write_text(yaml.safe_dump(document))
    return path, finding, cause


async def test_findings_causes_and_status_show_no_control_character(
    config: tuple[Path, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, finding, cause = config
    for words in (
        ("findings", "list"),
        ("findings", "show", finding),
        ("findings", "export", finding),
        ("findings", "show", finding, "--json"),
        ("findings", "ack", finding, "--reason", HOSTILE, "--by", HOSTILE),
        ("causes", "list", "--all"),
        ("causes", "show", cause),
        ("causes", "export", cause),
        ("status",),
        ("findings", "show", HOSTILE),
    ):
        output = await asyncio.to_thread(shown, monkeypatch, *words, "--config", str(path))
        assert output, words
        assert RAW.findall(output) == [], words
