"""`shadow init`: propose a config.yaml for an API, check it, and say what is left to decide.

The proposal itself is pure (`proxy.initial_config`). Here the tables of live, the OpenAPI document and recordings are read, the file is
written, and the checks that other commands make are run once.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

import asyncpg
import msgspec

from comparator import postgres
from comparator.capture.errors import CaptureError
from comparator.capture.preflight import Check, CheckLevel, judge
from comparator.capture.preflight import read_facts as read_capture_facts
from comparator.capture.reconnecting import LOST
from comparator.capture.schema_difference import TableDefinition, differences
from comparator.capture.session import connect
from comparator.capture.settings import CaptureSettings, shadow_capture
from comparator.effects.catalog_check import contradictions
from comparator.exchanges.model import Role, Side
from comparator.verdict import Comparator
from proxy.cli.capture import MARKS
from proxy.cli.exit_codes import Exit
from proxy.cli.output import CONFIG, print_line
from proxy.config.loader import load
from proxy.config.settings import Settings
from proxy.errors import SettingsError
from proxy.health_probe import ProbeResult, probe_backend, probe_url
from proxy.initial_config.config_text import DSN_VARIABLES, ConfigProposal, Instances, config_text, propose
from proxy.initial_config.fact_reading import read_definitions, read_facts
from proxy.initial_config.observed_traffic import observed_operations
from proxy.initial_config.openapi import operations_of
from proxy.initial_config.operations import ApiOperation
from proxy.initial_config.route_proposal import is_health_path
from proxy.initial_config.table_facts import TableFacts
from proxy.input_file import read_input_text
from proxy.private_file import write_private
from proxy.recordings.model import RecordedExchange
from proxy.recordings.reader import keys_of_recording, read
from proxy.serving.routing import compile_routes

HEALTH_PATHS: Final = ("/health", "/healthz", "/health/", "/readyz", "/ready", "/ping")
PROBE_TIMEOUT_S: Final = 2.0
CONNECT_TIMEOUT_S: Final = 10.0
INSTANCES: Final = tuple((side, role) for side in (Side.LEGACY, Side.CANDIDATE) for role in ("live", "shadow"))
REQUIRED: Final = ((Side.LEGACY, "live"), (Side.LEGACY, "shadow"), (Side.CANDIDATE, "shadow"))


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    for side, role in INSTANCES:
        note = "" if (side, role) in REQUIRED else ", once it is to serve"
        parser.add_argument(f"--{side}-{role}", default="", metavar="URL", help=f"{role} instance of the {side}{note}")
    for name, variable in DSN_VARIABLES.items():
        text = f"{name} database, as a libpq URI (default: ${variable}); it is not written to the file"
        parser.add_argument(f"--{name}-dsn", default="", metavar="DSN", help=text)
    parser.add_argument("--openapi", type=Path, metavar="FILE", help="OpenAPI document of the API, in JSON or YAML")
    parser.add_argument(
        "--recording",
        action="append",
        default=[],
        metavar="SOURCE",
        help="recorded traffic: a HAR, an access log, a journal's folder, or what else `shadow replay` reads (repeatable)",
    )
    parser.add_argument(
        "--requests-max", type=int, default=100_000, help="requests of a recording to read (default: %(default)s)"
    )
    parser.add_argument(
        "--tagged",
        action="append",
        choices=[side.value for side in Side],
        default=[],
        help="side that names the request in its transactions, as docs/tagging.md says (repeatable)",
    )
    parser.add_argument(
        "--serve",
        choices=[side.value for side in Side],
        default=Side.LEGACY.value,
        help="side that serves clients now (default: %(default)s)",
    )
    parser.add_argument("--to", type=Path, default=CONFIG, metavar="FILE", help="file to write (default: %(default)s)")
    parser.add_argument("--force", action="store_true", help="replace the file if it exists")


def run(args: argparse.Namespace) -> int:
    """Write the file; NEGATIVE when a check of it failed.

    Raises:
        SettingsError: a URL is missing, the file exists, or a document cannot be read.
        RecordingError: a recording cannot be read.
    """
    path: Path = args.to
    if path.exists() and not args.force:
        raise SettingsError(f"{path} exists; --force replaces it, --to names another file")
    if not path.absolute().parent.is_dir():
        raise SettingsError(f"{path}: its folder does not exist")
    ask = _prompt if sys.stdin.isatty() and sys.stdout.isatty() else None
    urls = urls_of(args, ask)
    dsns = dsns_of(args, os.environ, ask)
    return asyncio.run(_run(args, urls, dsns))


def urls_of(args: argparse.Namespace, ask: Callable[[str], str] | None) -> dict[tuple[Side, str], str]:
    """Return the URL of each instance from the options, else from `ask`, where there is a terminal.

    Raises:
        SettingsError: a required one is missing.
    """
    urls: dict[tuple[Side, str], str] = {}
    for side, role in INSTANCES:
        required = (side, role) in REQUIRED
        given: str = getattr(args, f"{side}_{role}")
        if not given and ask is not None:
            given = ask(f"URL of the {role} instance of the {side}{'' if required else ' (empty: none yet)'}: ")
        if given:
            urls[side, role] = given.rstrip("/")
        elif required:
            raise SettingsError(f"--{side}-{role} is required: the URL of the {role} instance of the {side}")
    return urls


def dsns_of(args: argparse.Namespace, environ: Mapping[str, str], ask: Callable[[str], str] | None) -> dict[str, str]:
    """Return the DSN of each database, from the options, the environment or `ask`; "" for one that is not given."""
    dsns: dict[str, str] = {}
    for name, variable in DSN_VARIABLES.items():
        dsns[name] = getattr(args, f"{name}_dsn") or environ.get(variable, "")
        if not dsns[name] and ask is not None:
            dsns[name] = ask(f"{name} database, as a libpq URI (empty: none): ")
    return dsns


def _prompt(question: str) -> str:
    return input(question).strip()


async def _run(args: argparse.Namespace, urls: Mapping[tuple[Side, str], str], dsns: Mapping[str, str]) -> Exit:
    capture = CaptureSettings()
    tables, live = await _read_live(dsns["live"], capture)
    operations = _documented(args.openapi)
    operations += observed_operations(
        _recorded(args.recording, args.requests_max), [one.template for one in operations]
    )
    tagged = tuple(Side(side) for side in args.tagged)
    proposal = propose(operations, tables, tagged=tagged)
    health = await _health_paths(urls, operations)
    text = config_text(proposal, Instances(urls, health, Side(args.serve), tagged))
    environ = {**os.environ, **{DSN_VARIABLES[name]: dsn for name, dsn in dsns.items()}}
    settings = load(text, environ)
    compile_routes(settings.routes)
    Comparator(settings.compare)
    write_private(args.to, text.encode())
    print_line(_written(args.to, proposal, len(operations)))
    checks = [check async for check in _checks(settings, dsns, tables, live)]
    print_line("\nchecks:\n" + _rendered(checks))
    print_line("\n" + "\n".join(_left_to_do(proposal, dsns, os.environ)))
    return Exit.NEGATIVE if any(check.level is CheckLevel.FAILED for check in checks) else Exit.DONE


async def _read_live(
    dsn: str, capture: CaptureSettings
) -> tuple[tuple[TableFacts, ...], Mapping[str, TableDefinition]]:
    """Return the tables of the live database; none without a DSN.

    Raises:
        CaptureError: it does not answer, or its catalogue cannot be read.
    """
    if not dsn:
        return (), {}
    try:
        conn = await connect(dsn, timeout_s=CONNECT_TIMEOUT_S)
        try:
            return await read_facts(conn, capture), await read_definitions(conn, capture)
        finally:
            await conn.close()
    except LOST as error:
        raise SettingsError(f"the live database does not answer: {type(error).__name__}: {error}") from error


def _documented(path: Path | None) -> tuple[ApiOperation, ...]:
    if path is None:
        return ()
    try:
        return operations_of(read_input_text(path))
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from error


def _recorded(sources: Iterable[str], requests_max: int) -> Iterator[RecordedExchange]:
    """Yield the requests of recordings. Records that are damaged are left out: a proposal needs no completeness."""
    for source in sources:
        items = read(source, keys=keys_of_recording(source, os.environ))
        yield from (item for item in islice(items, requests_max) if isinstance(item, RecordedExchange))


async def _health_paths(urls: Mapping[tuple[Side, str], str], operations: Sequence[ApiOperation]) -> dict[Side, str]:
    """Return the health path of each side. A live instance that is not running yet has that of the other side: it is the same API."""
    found = {side: await _health_path(urls.get((side, "live"), ""), operations) for side in Side}
    return {side: path or found[side.other] for side, path in found.items()}


async def _health_path(url: str, operations: Sequence[ApiOperation]) -> str:
    """Return the first path that answers with 200, of those that the API is known to have and the usual ones; "" for none."""
    if not url:
        return ""
    known = [one.template for one in operations if is_health_path(one.template) and not one.writes]
    for path in dict.fromkeys([*known, *HEALTH_PATHS]):
        if (await probe_url(url + path, timeout_s=PROBE_TIMEOUT_S)).status == 200:
            return path
    return ""


def _written(path: Path, proposal: ConfigProposal, operations: int) -> str:
    described = [table for table in proposal.tables if table.natural_key]
    volatile = sum(len(table.volatile) for table in described)
    key = f"; most requests are about: {proposal.key.label}" if proposal.key.label else ""
    return f"{path}: {len(proposal.routes)} routes of {operations} operations, {len(described)} tables with {volatile} volatile columns{key}"


async def _checks(
    settings: Settings, dsns: Mapping[str, str], tables: Sequence[TableFacts], live: Mapping[str, TableDefinition]
) -> AsyncIterator[Check]:
    yield Check("config.yaml", CheckLevel.OK, "valid")
    if tables:
        schemas = {table.name: table.shape.comparison_schema for table in tables}
        problems = contradictions(settings.compare.tables, schemas)
        level = CheckLevel.FAILED if problems else CheckLevel.OK
        yield Check("compare.tables", level, "; ".join(problems) or "agrees with the catalogue of live")
    for side, role in INSTANCES:
        backend = settings.backends.of(side, Role.SERVED if role == "live" else Role.MIRRORED)
        if backend.url:
            path = settings.backends.of(side, Role.SERVED).health_check.path or "/"
            yield _answered(
                f"{side} {role}", backend.url + path, await probe_backend(backend, path, timeout_s=PROBE_TIMEOUT_S)
            )
    if tables:
        yield await _capture_check("live", dsns["live"], settings, {})
        if dsns["shadow"]:
            yield await _capture_check("shadow", dsns["shadow"], settings, live)
    if dsns["store"]:
        yield await _reached("store", dsns["store"])


def _answered(name: str, url: str, result: ProbeResult) -> Check:
    if result.status is None:
        return Check(name, CheckLevel.WARNING, f"GET {url}: {result.error}; start it")
    level = CheckLevel.OK if result.status < 500 else CheckLevel.WARNING
    return Check(name, level, f"GET {url}: {result.status}")


async def _capture_check(name: str, dsn: str, settings: Settings, live: Mapping[str, TableDefinition]) -> Check:
    """Check whether rows can be captured from a database, and whether the shadow defines its tables as live does."""
    capture = settings.capture if name == "live" else shadow_capture(settings.capture)
    remedy = f"shadow capture check --database {name} --apply"
    try:
        conn = await connect(dsn, timeout_s=CONNECT_TIMEOUT_S)
    except (*LOST, CaptureError) as error:
        hint = "; `shadow align clone` creates it" if name == "shadow" else ""
        return Check(f"{name} database", CheckLevel.WARNING, f"{type(error).__name__}: {error}{hint}")
    try:
        own = await read_definitions(conn, capture)
        prepared = _with_tables(capture, own)
        checks = judge(await read_capture_facts(conn, prepared, named=False, shadow=name == "shadow"), prepared)
    finally:
        await conn.close()
    unequal = [
        str(one)
        for table, definition in live.items()
        for one in differences(table, definition, own.get(table, TableDefinition()))
    ]
    if unequal and not own:
        return Check(f"{name} database", CheckLevel.WARNING, "has no tables; `shadow align clone` fills it")
    problems = [f"{check.name}: {check.message}" for check in checks if check.level is CheckLevel.FAILED]
    if problems:
        return Check(f"{name} database", CheckLevel.WARNING, f"{_first(problems)}; `{remedy}`")
    return Check(f"{name} database", CheckLevel.OK, "ready to be captured from")


def _with_tables(capture: CaptureSettings, definitions: Mapping[str, TableDefinition]) -> CaptureSettings:
    return msgspec.structs.replace(capture, tables=tuple(definitions))


def _first(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{texts[0]}; and {len(texts) - 1} more"


async def _reached(name: str, dsn: str) -> Check:
    try:
        conn = await postgres.connect(dsn, timeout_s=CONNECT_TIMEOUT_S)
        await conn.close()
    except (*LOST, asyncpg.PostgresError) as error:
        return Check(f"{name} database", CheckLevel.WARNING, f"{type(error).__name__}: {error}")
    return Check(f"{name} database", CheckLevel.OK, "answers")


def _rendered(checks: Sequence[Check]) -> str:
    width = max(len(check.name) for check in checks)
    return "\n".join(f"{MARKS[check.level]}  {check.name.ljust(width)}  {check.message}" for check in checks)


def _left_to_do(proposal: ConfigProposal, dsns: Mapping[str, str], environ: Mapping[str, str]) -> Iterator[str]:
    """Yield what is left to decide, then the commands that come next."""
    if proposal.undecided:
        yield "left to decide:"
        yield from (f"  - {text}" for text in proposal.undecided)
    else:
        yield "nothing is left to decide"
    yield "next:"
    for name, variable in DSN_VARIABLES.items():
        if dsns["live"] and not environ.get(variable):
            yield f"  export {variable}=...    # the {name} database"
    if dsns["live"]:
        yield "  shadow capture check --database live --apply && shadow align clone && shadow capture check --database shadow --apply"
    yield "  shadow proxy & shadow runner & shadow doctor"
