"""Kinto twice, each with a live and a shadow instance, behind the proxy and the runner, over an embedded PostgreSQL.

The databases are prepared as docs/getting-started.md says: live is migrated and captured, the shadow is cloned from it.
"""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from proxy.demo.children import ChildPlan, python_module, run_to_end
from proxy.demo.free_ports import free_ports
from proxy.demo.installation import running_children
from proxy.rollout.accounting import Samples, total
from tests.support.paths import ROOT
from tests.support.postgres import own_cluster
from tests.support.scraping import until

HERE = Path(__file__).parent
ENVIRONMENTS = ROOT / "var" / "third_party"
CONFIG = HERE / "kinto_config.yaml"
SIDES = ("legacy", "candidate")
LOST_PRINCIPAL = "basicauth:lost"
"""The principal of which the shadow instances lose a permission."""
INI = """
[app:main]
use = egg:kinto
kinto.storage_backend = kinto.core.storage.postgresql
kinto.storage_url = {dsn}
kinto.permission_backend = kinto.core.permission.postgresql
kinto.permission_url = {dsn}
kinto.cache_backend = kinto.core.cache.postgresql
kinto.cache_url = {dsn}
kinto.userid_hmac_secret = of-this-test
kinto.bucket_create_principals = system.Authenticated
kinto.includes = kinto.plugins.history
kinto.paginate_by = 20
multiauth.policies = basicauth

[loggers]
keys = root
[handlers]
keys = console
[formatters]
keys = plain
[logger_root]
level = WARNING
handlers = console
[handler_console]
class = StreamHandler
args = (sys.stderr,)
level = NOTSET
formatter = plain
[formatter_plain]
format = %(asctime)s %(name)s %(message)s
"""


@dataclass(frozen=True, slots=True)
class KintoWorld:
    """A running installation.

    Attributes:
        folder: of configuration, journal and logs.
        environment: variables that the configuration is filled in from.
        url: of the proxy.
    """

    folder: Path
    environment: Mapping[str, str]
    url: str
    live_dsn: str
    shadow_dsn: str
    runner_port: int

    async def shadow(self, *arguments: str) -> str:
        """Run a command of `shadow` with the configuration; return what it prints.

        Raises:
            ChildFailedError: it failed, or answered no.
        """
        command = python_module("proxy", *arguments, "--config", str(self.folder / "config.yaml"))
        return (await run_to_end(command, self.environment, what=f"shadow {' '.join(arguments)}")).decode()

    async def until_compared(self, exchanges: int) -> Samples:
        """Wait until this many exchanges have their outcome, stored, and nothing waits for the shadow; return the runner's counts."""

        def settled(samples: Samples) -> bool:
            ended = sum(total(samples, f"shadow_{end}_total") for end in ("compared", "skipped", "failed", "dropped"))
            waiting = total(samples, "shadow_waiting") + total(samples, "shadow_lag_seconds")
            return ended >= exchanges and waiting == 0

        return await until(self.runner_port, settled, timeout_s=300)


def kinto(side: str, *arguments: str) -> Sequence[str]:
    """Return a command of the side's own environment."""
    return (str(ENVIRONMENTS / f"kinto-{side}" / "bin" / arguments[0]), *arguments[1:])


@asynccontextmanager
async def kinto_world(*, serve: str) -> AsyncGenerator[KintoWorld]:
    """Run the installation until the block ends; `serve` is the side that serves clients."""
    folder = Path(tempfile.mkdtemp(prefix="shadow-kinto-"))
    logs = folder / "logs"
    logs.mkdir()
    async with AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        server = stack.enter_context(own_cluster())
        ports = free_ports(7)
        instances = [(side, role) for side in SIDES for role in ("live", "shadow")]
        dsns = {role: server.dsn(role) for role in ("live", "shadow", "store")}
        environment = {
            "PYTHONPATH": str(ROOT),
            "KINTO_SERVE": serve,
            "KINTO_PROXY_PORT": str(ports[0]),
            "KINTO_ADMIN_PORT": str(ports[1]),
            "KINTO_RUNNER_PORT": str(ports[2]),
            **{f"KINTO_{role.upper()}_DSN": dsn for role, dsn in dsns.items()},
            **{
                f"KINTO_{side.upper()}_{role.upper()}_PORT": str(port)
                for (side, role), port in zip(instances, ports[3:], strict=True)
            },
        }
        text = CONFIG.read_text().replace("directory: journal", f"directory: {folder / 'journal'}")
        text = text.replace("switch.json", f"{folder / 'switch.json'}").replace(
            "rollback\n", f"{folder / 'rollback'}\n"
        )
        (folder / "config.yaml").write_text(text)
        world = KintoWorld(folder, environment, f"http://127.0.0.1:{ports[0]}", dsns["live"], dsns["shadow"], ports[2])
        for role in ("live", "shadow"):
            dsn = dsns[role].replace("postgresql:", "postgresql+psycopg2:").replace("%", "%%")
            (folder / f"{role}.ini").write_text(INI.format(dsn=dsn))
        await _prepare(world, server.dsn(), server.bin_dir)
        backends = [_kinto(folder, side, role, port) for (side, role), port in zip(instances, ports[3:], strict=True)]
        config = str(folder / "config.yaml")
        proxy = _own("proxy", config, environment, f"http://127.0.0.1:{ports[1]}/readyz")
        runner = _own("runner", config, environment, f"http://127.0.0.1:{ports[2]}/healthz")
        for group in (backends, [proxy], [runner]):
            await stack.enter_async_context(running_children(group, logs, lambda _: None))
        await until(world.runner_port, lambda samples: total(samples, "shadow_resyncs_total") >= 1)
        yield world


async def _prepare(world: KintoWorld, server_dsn: str, programs: Path) -> None:
    conn = await asyncpg.connect(server_dsn)
    try:
        for name in ("live", "store"):
            await conn.execute(f"CREATE DATABASE \"{name}\" TEMPLATE template0 ENCODING 'UTF8'")
            await conn.execute(f"ALTER DATABASE \"{name}\" SET timezone TO 'UTC'")
    finally:
        await conn.close()
    # The newer version migrates; the older one works on its tables.
    migrate = kinto("candidate", "kinto", "migrate", "--ini", str(world.folder / "live.ini"))
    await run_to_end(migrate, {}, what="kinto migrate")
    await world.shadow("capture", "check", "--database", "live", "--apply")
    await world.shadow("align", "clone", "--programs", str(programs))
    await world.shadow("capture", "check", "--database", "shadow", "--apply")
    await world.shadow("align", "verify")


def _kinto(folder: Path, side: str, role: str, port: int) -> ChildPlan:
    return ChildPlan(
        f"kinto-{side}-{role}",
        (*kinto(side, "python"), str(HERE / "serve_kinto.py"), str(folder / f"{role}.ini"), str(port)),
        {
            "SHADOW_TAG": "1" if side == "candidate" else "",
            "SHADOW_LOSE": LOST_PRINCIPAL if role == "shadow" else "",
            "PYTHONWARNINGS": "ignore",
        },
        f"http://127.0.0.1:{port}/v1/__lbheartbeat__",
        "read the log; `make third-party` sets up Kinto's environments",
    )


def _own(name: str, config: str, environment: Mapping[str, str], ready: str) -> ChildPlan:
    return ChildPlan(name, python_module("proxy", name, "--config", config), environment, ready, "read the log")


async def main() -> None:
    """Start the world and print where it is, for a look at it by hand."""
    async with kinto_world(serve="legacy") as world:
        print(world.url, world.folder)
        await asyncio.sleep(3600)


if __name__ == "__main__":
    asyncio.run(main())
