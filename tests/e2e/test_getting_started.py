"""Every command of docs/getting-started.md, in its order and in one shell, prints what the page says."""

import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from comparator.capture.replication import environment
from proxy.demo.embedded_postgres import EmbeddedPostgres
from proxy.demo.free_ports import free_ports
from tests.support import tutorial
from tests.support.matrix import FULL
from tests.support.paths import ROOT
from tests.support.postgres import drop_database, with_database

PAGE = ROOT / "docs" / "getting-started.md"
EXAMPLE = ROOT / "docs" / "examples" / "orders"
PORTS = ("8001", "8002", "8003", "8004", "8080", "9901", "9902")
PROGRAMS = {"shadow": "-m proxy", "gunicorn": "-m gunicorn", "python": ""}
DATABASES = {name: f"{name}_of_the_page" for name in ("orders_live", "orders_shadow", "verdicts")}


@asynccontextmanager
async def shell(folder: Path, dsn: str) -> AsyncIterator[tutorial.Shell]:
    """Open a shell in a copy of the example, with ports and databases of its own."""
    shutil.copytree(EXAMPLE, folder / "docs" / "examples" / "orders", ignore=shutil.ignore_patterns("__pycache__"))
    programs = folder / "bin"
    programs.mkdir()
    for name, arguments in PROGRAMS.items():
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n')
        (programs / name).chmod(0o755)
    postgres = EmbeddedPostgres(folder / "unused").bin_dir
    variables = {name: value for name, value in environment(dsn).items() if name != "PGDATABASE"}
    variables |= {"PATH": f"{programs}:{postgres}:/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    async with tutorial.Shell(folder, variables, replacements()) as opened:
        yield opened
    for database in DATABASES.values():
        await drop_database(with_database(dsn, database))


def replacements() -> Mapping[str, str]:
    ports = (str(port) for port in free_ports(len(PORTS)))
    return {**dict(zip(PORTS, ports, strict=True)), **DATABASES}


def take_own_ports(config: Path, replaced: Mapping[str, str]) -> None:
    """Give the written file the ports of this run; the page uses the default ones, which it does not have to name."""
    text = config.read_text()
    own = f"listen: {{port: {replaced['8080']}}}\nadmin: {{port: {replaced['9901']}}}\n"
    config.write_text(own + text.replace("runner:\n", f"runner:\n  port: {replaced['9902']}\n"))


async def follow(opened: tutorial.Shell, steps: list[tutorial.Step], folder: Path) -> None:
    config = folder / "docs" / "examples" / "orders" / "config.yaml"
    for step in steps:
        await opened.follow(step)
        if step.command.startswith("shadow init"):
            written = config.read_text()
            for text, stands_for in opened.replaced.items():
                written = written.replace(stands_for, text)
            assert written == (EXAMPLE / "config.yaml").read_text()
            take_own_ports(config, opened.replaced)


def test_the_page_has_steps_that_find_the_difference() -> None:
    steps = tutorial.steps_of(PAGE.read_text())
    assert len(steps) > 20
    assert any("loyalty.points" in line for step in steps for line in step.output)


async def test_every_command_prints_what_the_page_says(tmp_path: Path, postgres_dsn: str) -> None:
    steps = tutorial.steps_of(PAGE.read_text())
    if not FULL:
        # The slice ends with the proposed configuration: the rest takes half a minute.
        (end,) = [number for number, step in enumerate(steps) if step.command.startswith("shadow init")]
        steps = steps[: end + 1]
    async with shell(tmp_path, postgres_dsn) as opened:
        await follow(opened, steps, tmp_path)
