"""Start a whole system: three databases, four backends, the runner and the proxy."""

import asyncio
import os
import shutil
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit, urlunsplit

import msgspec
import yaml

from comparator import postgres
from comparator.capture.clone import CloneMethod, CloneOptions, clone
from comparator.capture.publication import prepare
from proxy.config.loader import load
from proxy.config.settings import Settings
from proxy.demo import config, nodes
from proxy.demo.children import ChildPlan, ChildProcess, python_module, run_to_end, running
from proxy.demo.free_ports import free_ports
from proxy.demo.traffic import DemoRequest, read_targets
from proxy.errors import DemoError
from proxy.exception_groups import first_error
from proxy.journal.registry import journal_keys
from proxy.private_file import write_private

ROOT = Path(__file__).resolve().parents[2]
_CONNECT_TIMEOUT_S = 10.0
_MORE_WORKERS = 3  # of the proxy: their admin ports follow the first one's


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """Options of an installation.

    Attributes:
        folder: for configuration, journal, logs and targets; emptied first, except `pg`.
        address_count: size of the synthetic population.
        seed: of the population; equal seeds make equal populations.
        divergences: faults of the mirrored legacy, as in SHADOW_DIVERGENCES.
        known_differences: add people whom both sides score differently on purpose.
        profile: name of the population's profile; "" for that of the demo.
        prefix: of the names of the databases.
        with_ui: run the web UI, too, from the beginning on.
        nodes: number of proxies; more than one share the journal by a broker, and have two runners.
        twin: run the scorer as the legacy too, so that nothing but chance differs.
        environment: further variables of all four backends.
        overrides: further configuration, which replaces that of the demo.
    """

    folder: Path
    address_count: int = 300
    seed: int = 1
    divergences: str = ""
    known_differences: bool = False
    profile: str = ""
    prefix: str = "demo_"
    with_ui: bool = False
    nodes: int = 1
    twin: bool = False
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    overrides: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Installation:
    """A running system.

    Attributes:
        targets: requests for traffic.
        children: its processes by name.
        divergences: names of the faults that are switched on in the mirrored legacy.
        urls: of all proxies, for clients.
        runner_urls: base URLs of all runners' admin ports.
    """

    addresses: config.DemoAddresses
    config_path: Path
    targets: tuple[DemoRequest, ...]
    children: Mapping[str, ChildProcess]
    divergences: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    runner_urls: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        """URL of the proxy for clients."""
        return f"http://127.0.0.1:{self.addresses.proxy}"

    @property
    def admin_url(self) -> str:
        """URL of the proxy's admin port."""
        return f"http://127.0.0.1:{self.addresses.proxy_admin}"

    @property
    def ui_url(self) -> str:
        """URL of the web UI."""
        return f"http://127.0.0.1:{self.addresses.ui}"

    @property
    def runner_url(self) -> str:
        """URL of the runner's admin port."""
        return f"http://127.0.0.1:{self.addresses.runner}"

    async def watch(self) -> None:
        """Raise DemoError when a child ends by itself; never return."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for name, child in self.children.items():
                    tasks.create_task(child.watch(), name=f"watch-{name}")
        except* DemoError as group:
            raise first_error(group) from None


@dataclass(frozen=True, slots=True)
class PreparedInstallation:
    """Filled databases, and the configuration of the parts that will use them.

    Attributes:
        issuers: DIDs of the credential issuers that the backends have to trust.
        logs: folder for the log files.
    """

    options: DemoOptions
    addresses: config.DemoAddresses
    config_path: Path
    settings: Settings
    issuers: Sequence[str]
    logs: Path

    def backends(self, role: str = "") -> list[ChildPlan]:
        """Return the backends to start: those on the database of a role, `live` or `shadow`; "" for all four."""
        plans = _backends(self.addresses, self.options, list(self.issuers))
        return [plan for plan in plans if plan.name.endswith(role)]


@asynccontextmanager
async def installed(
    server_dsn: str, options: DemoOptions, on_step: Callable[[str], None]
) -> AsyncGenerator[Installation]:
    """Run the whole system until the block ends; then stop the proxy, the runner and the backends, in this order.

    Args:
        server_dsn: DSN of a superuser, on a server with wal_level=logical.
        options: of the installation.
        on_step: called with a description of each step.

    Raises:
        DemoError: a part did not start; the message says which part, why, and what to do.
    """
    described = _described(server_dsn, options)
    addresses, config_path = described.addresses, described.config_path
    if options.nodes > 1:
        async with _several(server_dsn, options, on_step) as installation:
            yield installation
        return
    async with AsyncExitStack() as stack:
        children: dict[str, ChildProcess] = {}
        if options.with_ui:
            # First of all: it shows how the other parts come up.
            on_step(f"the web UI: http://127.0.0.1:{addresses.ui}")
            plan = _ui(addresses, config_path)
            children |= await stack.enter_async_context(running_children([plan], described.logs, lambda _: None))
        system = await _filled(server_dsn, described, on_step)
        for group in (system.backends(), [_runner(addresses, config_path)], [_proxy(addresses, config_path)]):
            children |= await stack.enter_async_context(running_children(group, system.logs, on_step))
        yield _installation(system, children, (addresses.proxy,), (addresses.runner,))


def _installation(
    system: PreparedInstallation, children: Mapping[str, ChildProcess], proxies: Sequence[int], runners: Sequence[int]
) -> Installation:
    options = system.options
    names = tuple(text.partition(":")[0].strip() for text in options.divergences.split(",") if text.strip())
    urls, runner_urls = (tuple(f"http://127.0.0.1:{port}" for port in ports) for ports in (proxies, runners))
    targets = read_targets(options.folder / "targets.ndjson")
    return Installation(system.addresses, system.config_path, targets, children, names, urls, runner_urls)


@asynccontextmanager
async def _several(
    server_dsn: str, options: DemoOptions, on_step: Callable[[str], None]
) -> AsyncGenerator[Installation]:
    """Run a system of several proxies, a broker and two runners until the block ends."""
    program = nodes.broker_program()
    nodes.set_common_key(os.environ)
    _check_checkout()
    logs = _fresh_folder(options.folder)
    addresses = _choose_addresses(server_dsn, options)
    second = nodes.SecondSlice(with_database(server_dsn, f"{options.prefix}shadow_b"))
    (broker_port,) = free_ports(1)
    over = config.merged(options.overrides, nodes.overrides(addresses, second, broker_port))
    config_path, settings = _configure(addresses, replace(options, overrides=over))
    proxies = nodes.write_node_configs(config_path, options.nodes)
    described = PreparedInstallation(options, addresses, config_path, settings, (), logs)
    async with AsyncExitStack() as stack:
        children: dict[str, ChildProcess] = {}

        async def start(*plans: ChildPlan) -> None:
            children.update(await stack.enter_async_context(running_children(plans, logs, on_step)))

        if options.with_ui:
            await start(_ui(addresses, config_path))
        system = await _filled(server_dsn, described, on_step)
        await _clone_second(addresses, second, settings)
        there = replace(
            addresses,
            shadow_dsn=second.shadow_dsn,
            candidate_shadow=second.candidate,
            candidate_shadow_admin=second.candidate_admin,
            legacy_shadow=second.legacy,
        )
        on_b = [replace(plan, name=f"{plan.name}-b") for plan in replace(system, addresses=there).backends("shadow")]
        await start(nodes.broker_plan(program, broker_port, logs), *system.backends(), *on_b)
        await start(*nodes.runner_plans(config_path, (addresses.runner, second.runner)))
        await start(
            *(
                replace(_proxy(replace(addresses, proxy_admin=admin), path), name=f"proxy-{number}")
                for number, (path, _, admin) in enumerate(proxies, 1)
            )
        )
        yield _installation(system, children, [port for _, port, _ in proxies], (addresses.runner, second.runner))


async def _clone_second(addresses: config.DemoAddresses, second: nodes.SecondSlice, settings: Settings) -> None:
    await clone(addresses.live_dsn, second.shadow_dsn, CloneOptions(method=CloneMethod.TEMPLATE, replace=True))
    await _publish(second.shadow_dsn, settings)


async def prepared(server_dsn: str, options: DemoOptions, on_step: Callable[[str], None]) -> PreparedInstallation:
    """Create and fill the databases, and write the configuration, without starting anything.

    Raises:
        DemoError: a database cannot be created or filled.
    """
    return await _filled(server_dsn, _described(server_dsn, options), on_step)


def _described(server_dsn: str, options: DemoOptions) -> PreparedInstallation:
    """Choose addresses and write the configuration."""
    _check_checkout()
    logs = _fresh_folder(options.folder)
    addresses = _choose_addresses(server_dsn, options)
    config_path, settings = _configure(addresses, options)
    return PreparedInstallation(options, addresses, config_path, settings, (), logs)


async def _filled(
    server_dsn: str, described: PreparedInstallation, on_step: Callable[[str], None]
) -> PreparedInstallation:
    """Create and fill the databases of a configuration."""
    on_step("databases: live, with a synthetic population whose credentials are really signed, and its clone, shadow")
    issuers = await _databases(server_dsn, described.addresses, described.options, described.settings)
    return replace(described, issuers=issuers)


@asynccontextmanager
async def running_children(
    plans: Sequence[ChildPlan], logs: Path, on_step: Callable[[str], None]
) -> AsyncGenerator[dict[str, ChildProcess]]:
    """Run children until the block ends; yield them by name once all are ready.

    Raises:
        DemoError: a child did not start.
    """
    on_step(", ".join(plan.name for plan in plans))
    async with AsyncExitStack() as stack:
        started = [await stack.enter_async_context(running(plan, logs)) for plan in plans]
        await _all_ready(started)
        yield {child.plan.name: child for child in started}


def with_database(dsn: str, name: str) -> str:
    """Return the DSN of another database on the same server."""
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{name}"))


async def drop_databases(server_dsn: str, prefix: str) -> None:
    """Drop the databases of an installation, and end their connections."""
    conn = await postgres.connect(server_dsn, timeout_s=_CONNECT_TIMEOUT_S)
    try:
        for name in ("live", "shadow", "shadow_b", "store"):
            await conn.execute(f'DROP DATABASE IF EXISTS "{prefix}{name}" WITH (FORCE)')
    finally:
        await conn.close()


def _check_checkout() -> None:
    for needed in (ROOT / "config.yaml", ROOT / "tests" / "legacy" / "__main__.py"):
        if not needed.exists():
            raise DemoError(f"{needed} is missing: the demo runs from a checkout of the repository (make demo)")


def _fresh_folder(folder: Path) -> Path:
    """Remove the files of an earlier run, except the database cluster; return the folder for logs."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("journal", "logs"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in ("switch.json", "rollback", "rollout.json", "rollout-audit.ndjson", "config.yaml", "targets.ndjson"):
        (folder / name).unlink(missing_ok=True)
    logs = folder / "logs"
    logs.mkdir()
    return logs


def _choose_addresses(server_dsn: str, options: DemoOptions) -> config.DemoAddresses:
    proxy, admin, *others = free_ports(10 + _MORE_WORKERS)
    return config.DemoAddresses(
        options.folder,
        proxy,
        admin,
        *others[_MORE_WORKERS:],
        live_dsn=with_database(server_dsn, f"{options.prefix}live"),
        shadow_dsn=with_database(server_dsn, f"{options.prefix}shadow"),
        store_dsn=with_database(server_dsn, f"{options.prefix}store"),
    )


def _configure(addresses: config.DemoAddresses, options: DemoOptions) -> tuple[Path, Settings]:
    base = cast("dict[str, Any]", yaml.safe_load((ROOT / "config.yaml").read_text()))
    text = yaml.safe_dump(config.document(base, addresses, options.overrides), sort_keys=False)
    path = options.folder / "config.yaml"
    write_private(path, text.encode())
    settings = load(text, os.environ)
    # The runner starts first and needs the journal's key.
    journal_keys(settings.journal, os.environ, create=True)
    return path, settings


async def _databases(
    server_dsn: str, addresses: config.DemoAddresses, options: DemoOptions, settings: Settings
) -> list[str]:
    """Create and fill live, clone it to shadow, publish both, and create store; return the DIDs of the issuers to trust."""
    await drop_databases(server_dsn, options.prefix)
    conn = await postgres.connect(server_dsn, timeout_s=_CONNECT_TIMEOUT_S)
    try:
        for name in ("live", "store"):
            await conn.execute(f'CREATE DATABASE "{options.prefix}{name}"')
        environment = {"DATABASE_URL": addresses.live_dsn}
        await run_to_end(
            python_module("scorer", "migrate"), environment, what="creating the tables (python -m scorer migrate)"
        )
        arguments = ["scorer", "populate", "--addresses", str(options.address_count), "--seed", str(options.seed)]
        arguments += ["--targets", str(options.folder / "targets.ndjson")]
        arguments += ["--known-differences"] if options.known_differences else []
        arguments += ["--profile", options.profile] if options.profile else []
        timeout_s = 120.0 + 0.05 * options.address_count
        what = "filling the database (python -m scorer populate)"
        summary = await run_to_end(python_module(*arguments), environment, what=what, timeout_s=timeout_s)
        await clone(addresses.live_dsn, addresses.shadow_dsn, CloneOptions(method=CloneMethod.TEMPLATE, replace=True))
        for dsn in (addresses.live_dsn, addresses.shadow_dsn):
            await _publish(dsn, settings)
    finally:
        await conn.close()
    return msgspec.json.decode(summary)["trusted_issuers"]


async def _publish(dsn: str, settings: Settings) -> None:
    conn = await postgres.connect(dsn, timeout_s=_CONNECT_TIMEOUT_S)
    try:
        await prepare(conn, settings.capture, settings.capture.tables or tuple(settings.compare.tables))
    finally:
        await conn.close()


def _backends(addresses: config.DemoAddresses, options: DemoOptions, issuers: list[str]) -> list[ChildPlan]:
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
    legacy = _scorer if options.twin else _legacy
    return [
        _scorer("scorer-live", addresses.candidate_live, {**common, **_scorer_live(addresses)}),
        _scorer("scorer-shadow", addresses.candidate_shadow, {**common, **_scorer_shadow(addresses)}),
        legacy("legacy-live", addresses.legacy_live, {**common, "DATABASE_URL": addresses.live_dsn}),
        legacy("legacy-shadow", addresses.legacy_shadow, {**common, **diverging, "DATABASE_URL": addresses.shadow_dsn}),
    ]


def _scorer_live(addresses: config.DemoAddresses) -> dict[str, str]:
    return {"DATABASE_URL": addresses.live_dsn, "SCORER_ADMIN_PORT": str(addresses.candidate_live_admin)}


def _scorer_shadow(addresses: config.DemoAddresses) -> dict[str, str]:
    return {"DATABASE_URL": addresses.shadow_dsn, "SCORER_ADMIN_PORT": str(addresses.candidate_shadow_admin)}


def _scorer(name: str, port: int, environment: Mapping[str, str]) -> ChildPlan:
    command = python_module("scorer", "serve", "--host", "127.0.0.1", "--port", str(port))
    return ChildPlan(
        name,
        command,
        environment,
        f"http://127.0.0.1:{port}/health/",
        "run `python -m scorer serve` and read its output",
    )


def _legacy(name: str, port: int, environment: Mapping[str, str]) -> ChildPlan:
    command = python_module("tests.legacy", "--host", "127.0.0.1", "--port", str(port))
    hint = "the stand-in needs the development packages: run `make setup` again"
    return ChildPlan(name, command, environment, f"http://127.0.0.1:{port}/health/", hint)


def _runner(addresses: config.DemoAddresses, config_path: Path) -> ChildPlan:
    command = python_module("proxy", "runner", "--config", str(config_path))
    hint = f"read its log; `shadow capture check --config {config_path}` lists what the databases lack"
    return ChildPlan("runner", command, {}, f"http://127.0.0.1:{addresses.runner}/readyz", hint)


def _proxy(addresses: config.DemoAddresses, config_path: Path) -> ChildPlan:
    command = python_module("proxy", "proxy", "--config", str(config_path))
    hint = "the message names the wrong setting; if another program uses a port, start the demo again"
    return ChildPlan("proxy", command, {}, f"http://127.0.0.1:{addresses.proxy_admin}/readyz", hint)


def _ui(addresses: config.DemoAddresses, config_path: Path) -> ChildPlan:
    command = python_module("proxy", "ui", "--config", str(config_path))
    return ChildPlan("ui", command, {}, f"http://127.0.0.1:{addresses.ui}/healthz", "read its log")


async def _all_ready(children: list[ChildProcess]) -> None:
    try:
        async with asyncio.TaskGroup() as tasks:
            for child in children:
                tasks.create_task(child.ready(), name=f"ready-{child.plan.name}")
    except* DemoError as group:
        raise first_error(group) from None
