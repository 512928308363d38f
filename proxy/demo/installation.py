"""Puts up a whole system: three databases, four backends, the runner and the proxy, ready to be asked."""

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import msgspec
import yaml

from comparator.capture.clone import CloneOptions, Method, clone
from comparator.capture.publication import prepare
from proxy.config.settings import Settings, load
from proxy.demo import config
from proxy.demo.children import ChildPlan, ChildProcess, finish, python, running
from proxy.demo.traffic import DemoRequest, read_targets
from proxy.errors import DemoError
from proxy.journal.keys import load_keys

ROOT = Path(__file__).resolve().parents[2]
_CONNECT_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Options:
    """What to put up.

    Attributes:
        folder: for config, journal, logs and targets; emptied before, except `pg`.
        addresses: people in the population.
        divergences: faults of the mirrored legacy, as its SHADOW_DIVERGENCES.
        known_differences: let the population have people whom both sides score differently on purpose.
        profile: who the people are, a profile's name; "" for the demo's own.
        prefix: of the names of the databases.
        environment: more environment of all four backends.
        overrides: more configuration, over the demo's own.
    """

    folder: Path
    addresses: int = 300
    seed: int = 1
    divergences: str = ""
    known_differences: bool = False
    profile: str = ""
    prefix: str = "demo_"
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    overrides: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Installation:
    """A running system. `divergences` names the faults that are switched on in the mirrored legacy."""

    places: config.DemoAddresses
    config_path: Path
    targets: tuple[DemoRequest, ...]
    children: Mapping[str, ChildProcess]
    divergences: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        """Where clients are served."""
        return f"http://127.0.0.1:{self.places.proxy}"

    @property
    def admin_url(self) -> str:
        """The proxy's control port."""
        return f"http://127.0.0.1:{self.places.proxy_admin}"

    @property
    def runner_url(self) -> str:
        """The runner's admin port."""
        return f"http://127.0.0.1:{self.places.runner}"

    async def watch(self) -> None:
        """Return only by raising DemoError, when a child ends by itself."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for name, child in self.children.items():
                    tasks.create_task(child.ended_early(), name=f"watch-{name}")
        except* DemoError as group:
            raise group.exceptions[0] from None


@dataclass(frozen=True, slots=True)
class Prepared:
    """Databases with everything in them, and the configuration for what is to run on them. `logs` is a folder."""

    options: Options
    places: config.DemoAddresses
    config_path: Path
    settings: Settings
    issuers: Sequence[str]
    logs: Path

    def backends(self, role: str = "") -> list[ChildPlan]:
        """How to start the backends; those wired to `live` or `shadow`, "" for all four."""
        plans = _backends(self.places, self.options, list(self.issuers))
        return [plan for plan in plans if plan.name.endswith(role)]


@asynccontextmanager
async def installed(server_dsn: str, options: Options, say: Callable[[str], None]) -> AsyncGenerator[Installation]:
    """Put everything up for the life of the block; taken down in the order proxy, runner, backends.

    Args:
        server_dsn: a superuser's DSN on a server with wal_level=logical.
        options: what to put up.
        say: is told each step.

    Raises:
        DemoError: a part did not come up; the message says which, why, and what to do.
    """
    made = await prepared(server_dsn, options, say)
    places, config_path = made.places, made.config_path
    async with AsyncExitStack() as stack:
        children: dict[str, ChildProcess] = {}
        for group in (made.backends(), [_runner(places, config_path)], [_proxy(places, config_path)]):
            children |= await stack.enter_async_context(up(group, made.logs, say))
        names = tuple(one.partition(":")[0].strip() for one in options.divergences.split(",") if one.strip())
        yield Installation(places, config_path, read_targets(options.folder / "targets.ndjson"), children, names)


async def prepared(server_dsn: str, options: Options, say: Callable[[str], None]) -> Prepared:
    """Make the databases, fill them, and write the configuration; nothing runs yet.

    Raises:
        DemoError: a database cannot be made or filled.
    """
    _check_checkout()
    logs = _fresh_folder(options.folder)
    places = _places(server_dsn, options)
    config_path, settings = _configure(places, options)
    say("databases: live, with a synthetic population of really signed credentials, and its clone, shadow")
    issuers = await _databases(server_dsn, places, options, settings)
    return Prepared(options, places, config_path, settings, issuers, logs)


@asynccontextmanager
async def up(
    plans: Sequence[ChildPlan], logs: Path, say: Callable[[str], None]
) -> AsyncGenerator[dict[str, ChildProcess]]:
    """These children, ready, for the life of the block.

    Raises:
        DemoError: one did not come up.
    """
    say(", ".join(plan.name for plan in plans))
    async with AsyncExitStack() as stack:
        started = [await stack.enter_async_context(running(plan, logs)) for plan in plans]
        await _all_ready(started)
        yield {child.plan.name: child for child in started}


def with_database(dsn: str, name: str) -> str:
    """The same server, another database."""
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{name}"))


async def drop_databases(server_dsn: str, prefix: str) -> None:
    """Drop the databases of an installation, connections and all."""
    conn = await asyncpg.connect(server_dsn, timeout=_CONNECT_TIMEOUT_S)
    try:
        for name in ("live", "shadow", "store"):
            await conn.execute(f'DROP DATABASE IF EXISTS "{prefix}{name}" WITH (FORCE)')
    finally:
        await conn.close()


def _check_checkout() -> None:
    for needed in (ROOT / "config.yaml", ROOT / "tests" / "legacy" / "__main__.py"):
        if not needed.exists():
            raise DemoError(f"{needed} is missing: the demo runs from a checkout of the repository (make demo)")


def _fresh_folder(folder: Path) -> Path:
    """Remove what an earlier run left, except the database cluster; the folder for logs."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("journal", "logs"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in ("switch.json", "rollback", "rollout.json", "rollout-audit.ndjson", "config.yaml", "targets.ndjson"):
        (folder / name).unlink(missing_ok=True)
    logs = folder / "logs"
    logs.mkdir()
    return logs


def _places(server_dsn: str, options: Options) -> config.DemoAddresses:
    return config.DemoAddresses(
        options.folder,
        *_free_ports(9),
        live_dsn=with_database(server_dsn, f"{options.prefix}live"),
        shadow_dsn=with_database(server_dsn, f"{options.prefix}shadow"),
        store_dsn=with_database(server_dsn, f"{options.prefix}store"),
    )


def _free_ports(count: int) -> list[int]:
    """Ports nobody listens on now; all are held until the last is known, so that they differ."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def _configure(places: config.DemoAddresses, options: Options) -> tuple[Path, Settings]:
    base = cast("dict[str, Any]", yaml.safe_load((ROOT / "config.yaml").read_text()))
    text = yaml.safe_dump(config.document(base, places, options.overrides), sort_keys=False)
    path = options.folder / "config.yaml"
    path.write_text(text)
    settings = load(text, os.environ)
    # The runner starts first and needs the journal's key.
    load_keys(Path(settings.journal.directory), os.environ, create=True)
    return path, settings


async def _databases(server_dsn: str, places: config.DemoAddresses, options: Options, settings: Settings) -> list[str]:
    """Make live, fill it, clone it to shadow, publish both, make store; the DIDs of the issuers to trust."""
    await drop_databases(server_dsn, options.prefix)
    conn = await asyncpg.connect(server_dsn, timeout=_CONNECT_TIMEOUT_S)
    try:
        for name in ("live", "store"):
            await conn.execute(f'CREATE DATABASE "{options.prefix}{name}"')
        environment = {"DATABASE_URL": places.live_dsn}
        await finish(python("scorer", "migrate"), environment, what="making the tables (python -m scorer migrate)")
        words = ["scorer", "populate", "--addresses", str(options.addresses), "--seed", str(options.seed)]
        words += ["--targets", str(options.folder / "targets.ndjson")]
        words += ["--known-differences"] if options.known_differences else []
        words += ["--profile", options.profile] if options.profile else []
        patience_s = 120.0 + 0.05 * options.addresses
        what = "filling the database (python -m scorer populate)"
        summary = await finish(python(*words), environment, what=what, timeout_s=patience_s)
        await clone(places.live_dsn, places.shadow_dsn, CloneOptions(method=Method.TEMPLATE, replace=True))
        for dsn in (places.live_dsn, places.shadow_dsn):
            await _publish(dsn, settings)
    finally:
        await conn.close()
    return msgspec.json.decode(summary)["trusted_issuers"]


async def _publish(dsn: str, settings: Settings) -> None:
    conn = await asyncpg.connect(dsn, timeout=_CONNECT_TIMEOUT_S)
    try:
        await prepare(conn, settings.capture, settings.capture.tables or tuple(settings.compare.tables))
    finally:
        await conn.close()


def _backends(places: config.DemoAddresses, options: Options, issuers: list[str]) -> list[ChildPlan]:
    common = {
        "TRUSTED_IAM_ISSUERS": msgspec.json.encode(issuers).decode(),
        "HUMAN_POINTS_WRITE_ENABLED": "true",
        "FF_V2_API": "on",
        "SECRET_KEY": "demo",
        "CERAMIC_CACHE_SCORER_ID": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH", "")])]),
        **options.environment,
    }
    diverging = {"SHADOW_DIVERGENCES": options.divergences}
    return [
        _scorer("scorer-live", places.candidate_live, {**common, **_scorer_live(places)}),
        _scorer("scorer-shadow", places.candidate_shadow, {**common, **_scorer_shadow(places)}),
        _legacy("legacy-live", places.legacy_live, {**common, "DATABASE_URL": places.live_dsn}),
        _legacy("legacy-shadow", places.legacy_shadow, {**common, **diverging, "DATABASE_URL": places.shadow_dsn}),
    ]


def _scorer_live(places: config.DemoAddresses) -> dict[str, str]:
    return {"DATABASE_URL": places.live_dsn, "SCORER_ADMIN_PORT": str(places.candidate_live_admin)}


def _scorer_shadow(places: config.DemoAddresses) -> dict[str, str]:
    return {"DATABASE_URL": places.shadow_dsn, "SCORER_ADMIN_PORT": str(places.candidate_shadow_admin)}


def _scorer(name: str, port: int, environment: Mapping[str, str]) -> ChildPlan:
    command = python("scorer", "serve", "--host", "127.0.0.1", "--port", str(port))
    return ChildPlan(
        name, command, environment, f"http://127.0.0.1:{port}/health/", "run `python -m scorer serve` by hand"
    )


def _legacy(name: str, port: int, environment: Mapping[str, str]) -> ChildPlan:
    command = python("tests.legacy", "--host", "127.0.0.1", "--port", str(port))
    hint = "the stand-in needs the development packages: run `make setup` again"
    return ChildPlan(name, command, environment, f"http://127.0.0.1:{port}/health/", hint)


def _runner(places: config.DemoAddresses, config_path: Path) -> ChildPlan:
    command = python("proxy", "runner", "--config", str(config_path))
    hint = f"its log says why; `shadow capture check --config {config_path}` says what the databases lack"
    return ChildPlan("runner", command, {}, f"http://127.0.0.1:{places.runner}/readyz", hint)


def _proxy(places: config.DemoAddresses, config_path: Path) -> ChildPlan:
    command = python("proxy", "proxy", "--config", str(config_path))
    hint = "the message names the setting at fault; another program may have taken a port: start the demo again"
    return ChildPlan("proxy", command, {}, f"http://127.0.0.1:{places.proxy_admin}/readyz", hint)


async def _all_ready(children: list[ChildProcess]) -> None:
    try:
        async with asyncio.TaskGroup() as tasks:
            for child in children:
                tasks.create_task(child.ready(), name=f"ready-{child.plan.name}")
    except* DemoError as group:
        raise group.exceptions[0] from None
