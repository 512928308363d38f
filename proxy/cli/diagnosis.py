"""Judge an installation: everything that is wrong or unusual, in the order to mend it. Pure.

What comes first may cause what follows: without a database no row is captured, a runner that was not restarted compares by old settings, and
a clock that is wrong makes requests overlap.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, cast

from comparator.capture.settings import Driver
from comparator.exchanges.model import Side
from comparator.exchanges.skip import Skip
from proxy.config.settings import Settings
from proxy.journal.reconciliation import WriterAccount
from proxy.runner.skip_causes import RunnerSkip

SHARE_MIN: Final = 0.01
"""Share of the served exchanges from which a cause of skips is reported."""
COMPARISONS_MIN: Final = 200
"""Comparisons after which a rule that never applied, or a table that was never written, is reported."""
LAG_MAX_S: Final = 60.0
TEMPLATES_SHOWN: Final = 10
NAMES_SHOWN: Final = 10

NOTHING_TO_DO: Final = frozenset(
    {
        Skip.POLICY,
        Skip.SAMPLE,
        Skip.RECORD_IF,
        Skip.SHADOW,
        Skip.IMPORTED,
        Skip.UNROUTED,
        RunnerSkip.REPEATED,
        RunnerSkip.OTHER_SLICE,
    }
)
"""Causes that the configuration asks for, or that are reported elsewhere."""
REMEDIES: Final[Mapping[str, str]] = {
    Skip.WRITE: "routes[].writes decides: `mirror`, or `idempotent` and clients that send Idempotency-Key",
    Skip.TRUNCATED: "raise journal.body_max_bytes",
    Skip.FALLBACK: "the other side served: look at the health of the backends",
    Skip.RETRIED: "the side closes kept connections: let it keep them longer than the proxy does (backends.*.idle_s)",
    Skip.RATE_LIMITED: "raise mirroring.per_s_max or the route's mirror_per_s_max, if the mirrored side can handle it",
    Skip.UPGRADE: "tunnels (WebSocket) cannot be compared",
    Skip.ABORTED: "clients end their connections before the response is complete: their time limits are shorter than the side needs",
    Skip.DISABLED: "there is no journal: set journal.enabled and restart the proxy",
    RunnerSkip.SERVED_FAILED: "the serving side gave no response: look at its log",
    RunnerSkip.TRUNCATED_REQUEST: "raise journal.body_max_bytes",
    RunnerSkip.NO_SHADOW_INSTANCE: "set backends.*.shadow.url of the side that does not serve, and restart the runner",
    RunnerSkip.NO_KEY: "give the routes a `key`, or `safe: true` if their requests change nothing",
    RunnerSkip.UNCAPTURED_WRITE: "capture row changes (docs/row-capture.md), or `safe: true` on routes that change nothing",
    RunnerSkip.REDACTED: "set journal.redaction.mode: seal, and one SHADOW_JOURNAL_KEY for proxy and runner",
    RunnerSkip.SLOW: "raise runner.claim_wait_ms above the slowest request",
    RunnerSkip.LATE: "the runner lags: raise runner.concurrency, or sample",
    RunnerSkip.CLOCK: "set the clock of the proxy's machine right (NTP)",
    RunnerSkip.DUPLICATE_ID: "a client repeats X-Request-Id: find it, or remove the header ahead of the proxy",
    RunnerSkip.UNKNOWN_POLICY: "the proxy is newer than the runner: update the runner",
    RunnerSkip.AMBIGUOUS: "let the sides name their requests (docs/tagging.md), or give the tables `keys`",
    RunnerSkip.INTERFERED: "another writer changes the same rows: declare it in compare.background, or let the sides name their requests",
    RunnerSkip.OVERLAPPED: "let the sides name their requests (docs/tagging.md); else lower runner.clock_skew_ms to the clocks' true difference",
    RunnerSkip.UNJOURNALED: "processes of the proxy crash, or exchanges are lost: look at the proxy's log and the disk of the journal",
    RunnerSkip.UNTAGGED: "let the side name its requests (docs/tagging.md), or take it out of runner.tagged_sides",
    RunnerSkip.LOST: "the capture of live was interrupted: look at the runner's log; nothing to do after a restart",
    RunnerSkip.SCHEMA_DIFFERS: 'run the migration on the other database as well: RUNBOOK.md, "A migration of the database"',
    RunnerSkip.NOT_CAPTURABLE: "capture the tables of routes[].tables: `shadow capture check --apply`",
    RunnerSkip.NEEDS_CLONE: "stop the runner, run `shadow align clone`, start it again",
    RunnerSkip.NOT_CAPTURED: "nothing after a start or a resync; else look at shadow_resyncs_total",
    RunnerSkip.UNSETTLED: "mirrored requests give no response in runner.timeout_s: look at the shadow instance",
    RunnerSkip.REPAIRED: "nothing after a resync; else look at the runner's lag",
    RunnerSkip.DRIFTED: 'rows of the shadow are not what the runner wrote: RUNBOOK.md, "Rows that do not become equal"',
    RunnerSkip.OVERLOAD: "raise runner.concurrency, lower `sample`, or give the runner another machine",
    RunnerSkip.CAPTURE_LOST: "the capture of the shadow was interrupted: look at the runner's log; nothing to do after a restart",
    RunnerSkip.INTERNAL: "a defect of the runner: report it with the traceback in its log",
}  # fmt: skip


class ProblemLevel(StrEnum):
    """The weight of a problem: `wrong` keeps the installation from its purpose, `unusual` may be meant."""

    WRONG = "wrong"
    UNUSUAL = "unusual"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong or unusual.

    Attributes:
        level: its weight.
        place: the part, table, route or field.
        text: the problem.
        remedy: what mends it.
    """

    level: ProblemLevel
    place: str
    text: str
    remedy: str


@dataclass(frozen=True, slots=True)
class PreparationProblem:
    """A check of a database's preparation for capturing that did not succeed.

    Attributes:
        name: subject of the check.
        failed: it prevents capturing; else it has a cost.
        message: the finding in one line.
        remedy: SQL statements.
        applicable: `shadow capture check --apply` runs them.
    """

    name: str
    failed: bool
    message: str
    remedy: tuple[str, ...] = ()
    applicable: bool = False


@dataclass(frozen=True, slots=True)
class ExchangeCounts:
    """The exchanges that a proxy has served, and by cause those that were skipped and dropped."""

    served: int
    skipped: Mapping[str, int] = field(default_factory=dict[str, int])
    dropped: Mapping[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, slots=True)
class DatabaseAnswer:
    """The answer of a database.

    Attributes:
        name: live, shadow or store.
        error: why it did not answer, "" if it did.
        problems: of its preparation for capturing.
        clock_ms: how far its clock is ahead of this machine's.
        clock_error_ms: the most that `clock_ms` may be wrong by.
    """

    name: str
    error: str = ""
    problems: tuple[PreparationProblem, ...] = ()
    clock_ms: float = 0.0
    clock_error_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class ProbedHealth:
    """The answer to a health check.

    Attributes:
        side: whose live instance.
        path: that was requested.
        status: of the response; None for none.
        location: of a redirect.
        error: why there was no response.
    """

    side: Side
    path: str
    status: int | None
    location: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class ProcessAnswer:
    """The /status of a proxy or runner process; `document` is None where it did not answer, for the reason in `error`."""

    name: str
    document: Mapping[str, Any] | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class InstallationFacts:
    """The facts about an installation.

    Attributes:
        settings: of config.yaml, as it is now.
        warnings: about the configuration alone.
        databases: those that are configured.
        proxies: all processes.
        runner: the runner.
        health: of live instances with a health check.
        exchanges: counts of the served exchanges; None while a part is down.
        lag_s: of the runner.
        accounts: of the writers of the journal; None where they cannot be read.
        rules: places of the configured rules that may apply.
    """

    settings: Settings
    warnings: Sequence[str] = ()
    databases: Sequence[DatabaseAnswer] = ()
    proxies: Sequence[ProcessAnswer] = ()
    runner: ProcessAnswer = ProcessAnswer("runner", None, "not asked")
    health: Sequence[ProbedHealth] = ()
    exchanges: ExchangeCounts | None = None
    lag_s: float = 0.0
    accounts: Sequence[WriterAccount] | None = None
    rules: Sequence[str] = field(default=())


def diagnose(facts: InstallationFacts) -> list[Problem]:
    """Return all problems in the order to mend them: by cause and effect, and of equals what is wrong first."""
    steps: tuple[Callable[[InstallationFacts], Iterable[Problem]], ...] = (
        _configuration,
        _databases,
        _preparation,
        _processes,
        _restarts,
        _serving,
        _health_paths,
        _clocks,
        _tags,
        _schema,
        _shadow,
        _missing,
        _skips,
        _unrouted,
        _rules,
        _tables,
    )
    return [
        problem
        for step in steps
        for problem in sorted(step(facts), key=lambda one: one.level is not ProblemLevel.WRONG)
    ]


def _wrong(place: str, text: str, remedy: str) -> Problem:
    return Problem(ProblemLevel.WRONG, place, text, remedy)


def _unusual(place: str, text: str, remedy: str) -> Problem:
    return Problem(ProblemLevel.UNUSUAL, place, text, remedy)


def _configuration(facts: InstallationFacts) -> Iterator[Problem]:
    for warning in facts.warnings:
        yield _unusual("config.yaml", warning, "see docs/configuration.md")
    if not facts.settings.routes:
        yield _wrong("routes", "there is none, so nothing is compared", "name the routes; `shadow init` proposes them")


def _databases(facts: InstallationFacts) -> Iterator[Problem]:
    for database in facts.databases:
        if database.error:
            remedy = f"start it, or correct databases.{database.name}"
            if database.name == "shadow":
                remedy += "; `shadow align clone` creates it"
            yield _wrong(f"{database.name} database", f"does not answer: {database.error}", remedy)


def _preparation(facts: InstallationFacts) -> Iterator[Problem]:
    for database in facts.databases:
        for check in database.problems:
            command = f"`shadow capture check --database {database.name}{' --apply' if check.applicable else ''}`"
            statements = [" ".join(statement.split()) for statement in check.remedy]
            more = f", and {len(statements) - 1} more: {command}" if len(statements) > 1 else ""
            yield Problem(
                ProblemLevel.WRONG if check.failed else ProblemLevel.UNUSUAL,
                f"{database.name} database, {check.name}",
                check.message,
                f"{statements[0]}{more}" if statements else command,
            )


def _processes(facts: InstallationFacts) -> Iterator[Problem]:
    for process in facts.proxies:
        if process.document is None:
            yield _wrong(
                process.name,
                f"does not answer: {process.error}",
                "`shadow proxy`; the web UI and rollbacks need its control port",
            )
    if facts.runner.document is None:
        yield _wrong(
            "runner", f"does not answer: {facts.runner.error}", "`shadow runner`; meanwhile nothing is compared"
        )
    elif not facts.runner.document.get("ready", True):
        yield _unusual(
            "runner",
            "is not ready: what is served now may not be compared",
            "wait for its start or resync; its log says which",
        )
    if facts.lag_s > LAG_MAX_S:
        yield _unusual(
            "runner", f"is {facts.lag_s:.0f} s behind", "raise runner.concurrency, or lower `sample` on routes"
        )


def _restarts(facts: InstallationFacts) -> Iterator[Problem]:
    for process in (*facts.proxies, facts.runner):
        config = cast("Mapping[str, Any]", (process.document or {}).get("config") or {})
        if config.get("error"):
            yield _wrong(
                process.name,
                f"refused the new config.yaml: {config['error']}",
                "correct the file; the old settings are in force",
            )
        if config.get("needs_restart"):
            yield _unusual(
                process.name,
                f"only a restart applies {', '.join(config['needs_restart'])}",
                f"restart the {process.name}",
            )


def _serving(facts: InstallationFacts) -> Iterator[Problem]:
    for process in facts.proxies:
        document = process.document or {}
        switch = cast("Mapping[str, Any]", document.get("switch") or {})
        if switch.get("rolled_back"):
            yield _unusual(
                process.name,
                f"rolled back by {switch.get('actor')}: {switch.get('reason')}",
                "`shadow resume`, once the reason is gone",
            )
        for side, backend in cast("Mapping[str, Mapping[str, Any]]", document.get("backends") or {}).items():
            if backend.get("ejected"):
                yield _wrong(f"{side} live", "is ejected: it fails clients' requests", "look at its log")
            elif backend.get("healthy") is False:
                yield _wrong(
                    f"{side} live",
                    f"fails its health check: GET {backend.get('checked')}",
                    "look at its log, or correct health_check.path",
                )
        journal = cast("Mapping[str, Any]", document.get("journal") or {})
        if journal.get("healthy") is False:
            yield _wrong(process.name, "cannot write the journal", "look at the disk of journal.directory")


def _health_paths(facts: InstallationFacts) -> Iterator[Problem]:
    for probe in facts.health:
        place = f"backends.{probe.side}.live.health_check.path"
        if probe.status is None:
            yield _wrong(place, f"GET {probe.path}: {probe.error}", "start the instance, or correct its url")
        elif 300 <= probe.status < 400:
            to = f" to {probe.location}" if probe.location else ""
            yield _unusual(
                place,
                f"GET {probe.path} redirects{to} ({probe.status}), which says nothing about health",
                "name the path that answers with 200",
            )
        elif probe.status >= 400:
            yield _wrong(place, f"GET {probe.path}: {probe.status}", "name a path that answers with 200")


def _clocks(facts: InstallationFacts) -> Iterator[Problem]:
    allowed = facts.settings.runner.clock_skew_ms
    for database in facts.databases:
        if database.error or database.name == "store":
            continue
        surely = abs(database.clock_ms) - database.clock_error_ms
        if surely > allowed:
            direction = "ahead of" if database.clock_ms > 0 else "behind"
            yield _wrong(
                f"{database.name} database",
                f"its clock is {abs(database.clock_ms):.1f} ms {direction} this machine's, more than runner.clock_skew_ms ({allowed})",
                "set the clocks right (NTP), or raise runner.clock_skew_ms; run this command on the proxy's machine",
            )


def _tags(facts: InstallationFacts) -> Iterator[Problem]:
    tagged = facts.settings.runner.tagged_sides
    for side in cast("Sequence[str]", (facts.runner.document or {}).get("untagged") or ()):
        yield _wrong(
            f"{side}",
            "names no request in its transactions, as runner.tagged_sides says: its writes are skipped",
            REMEDIES[RunnerSkip.UNTAGGED],
        )
    untagged = [side for side in Side if side not in tagged]
    if (
        untagged
        and facts.settings.capture.driver is not Driver.OFF
        and _share(facts, RunnerSkip.OVERLAPPED) >= SHARE_MIN
    ):
        yield _unusual(
            "runner.tagged_sides",
            f"without {' and '.join(untagged)}: rows are attributed by key and time",
            "docs/tagging.md has middlewares and the statement",
        )


def _schema(facts: InstallationFacts) -> Iterator[Problem]:
    schema = cast("Mapping[str, Any]", (facts.runner.document or {}).get("schema") or {})
    for table in schema.get("differs") or ():
        yield _wrong(
            f"table {table['table']}",
            f"is not compared: {'; '.join(table['reasons'])}",
            REMEDIES[RunnerSkip.SCHEMA_DIFFERS],
        )
    not_captured = cast("Sequence[str]", schema.get("not_captured") or ())
    if not_captured:
        yield _unusual(
            "capture",
            f"tables that are not captured, so their rows are not compared: {', '.join(not_captured)}",
            "`shadow capture check --apply`",
        )


def _shadow(facts: InstallationFacts) -> Iterator[Problem]:
    shadow = cast("Mapping[str, Any]", (facts.runner.document or {}).get("shadow") or {})
    if shadow.get("needs_clone"):
        yield _wrong("shadow database", "contradicts live as a whole", REMEDIES[RunnerSkip.NEEDS_CLONE])
    elif shadow.get("resyncing") or shadow.get("resync_due"):
        yield _unusual(
            "shadow database",
            f"is being resynced: {shadow.get('resync_due') or 'running'}",
            "wait; nothing that is served meanwhile is compared",
        )


def _missing(facts: InstallationFacts) -> Iterator[Problem]:
    for account in facts.accounts or ():
        if account.missing:
            yield _wrong(
                "accounting",
                f"{len(account.missing)} exchanges of writer {account.writer} are missing without a trace",
                'RUNBOOK.md, "Missing exchanges"',
            )
    dropped = sum(facts.exchanges.dropped.values()) if facts.exchanges else 0
    if facts.exchanges and dropped:
        causes = ", ".join(f"{cause} {count}" for cause, count in sorted(facts.exchanges.dropped.items()))
        yield _unusual(
            "journal",
            f"{dropped} of {facts.exchanges.served} exchanges were dropped: {causes}",
            "a faster disk, a larger journal.queue_max_bytes, or `sample`",
        )


def _share(facts: InstallationFacts, cause: str) -> float:
    counts = facts.exchanges
    return counts.skipped.get(cause, 0) / counts.served if counts and counts.served else 0.0


def _skips(facts: InstallationFacts) -> Iterator[Problem]:
    """Yield the causes of skips with a notable share, the largest first."""
    if not facts.exchanges:
        return
    for cause, count in sorted(facts.exchanges.skipped.items(), key=lambda one: -one[1]):
        share = _share(facts, cause)
        if cause in NOTHING_TO_DO or share < SHARE_MIN:
            continue
        yield _unusual(
            f"skipped, {cause}",
            f"{count} of {facts.exchanges.served} exchanges ({share:.1%})",
            REMEDIES.get(cause, 'RUNBOOK.md, "Exchanges are skipped"') + _measured(facts, cause),
        )


def _measured(facts: InstallationFacts, cause: str) -> str:
    """Return the clocks' measured difference where it decides how many requests overlap."""
    clocks = [
        abs(one.clock_ms) + one.clock_error_ms for one in facts.databases if not one.error and one.name != "store"
    ]
    if cause != RunnerSkip.OVERLAPPED or not clocks:
        return ""
    return (
        f" (runner.clock_skew_ms is {facts.settings.runner.clock_skew_ms}; measured now: at most {max(clocks):.1f} ms)"
    )


def _unrouted(facts: InstallationFacts) -> Iterator[Problem]:
    counts: dict[str, int] = {}
    for process in facts.proxies:
        for one in cast("Sequence[Mapping[str, Any]]", (process.document or {}).get("unrouted") or ()):
            counts[one["template"]] = counts.get(one["template"], 0) + one["count"]
    for template, count in sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:TEMPLATES_SHOWN]:
        yield _unusual(
            f"unrouted, {template}",
            f"{count} requests match no route: they are served and not compared",
            "add a route, with `mirror: skip` if that is meant",
        )


def _rules(facts: InstallationFacts) -> Iterator[Problem]:
    use = cast("Mapping[str, Any]", (facts.runner.document or {}).get("use") or {})
    if use.get("comparisons", 0) < COMPARISONS_MIN:
        return
    never = [rule for rule in facts.rules if rule not in (use.get("rules") or {})]
    if never:
        yield _unusual(
            "compare",
            f"{len(never)} of {len(facts.rules)} rules have not applied in {use['comparisons']} comparisons: {_listed(never)}",
            "is the path or column right? A rule that nothing needs can hide a fault later",
        )


def _tables(facts: InstallationFacts) -> Iterator[Problem]:
    use = cast("Mapping[str, Any]", (facts.runner.document or {}).get("use") or {})
    if use.get("comparisons", 0) < COMPARISONS_MIN or facts.settings.capture.driver is Driver.OFF:
        return
    tables = facts.settings.compare.tables
    never = [table for table in tables if table not in (use.get("tables") or {})]
    if never:
        yield _unusual(
            "compare.tables",
            f"{len(never)} of {len(tables)} tables were not written in {use['comparisons']} comparisons: {_listed(never)}",
            "nothing if that is so; else look at their `keys`, and for the route that should write them",
        )


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def render(problems: Sequence[Problem]) -> str:
    """Return the problems as numbered lines, each with what mends it."""
    if not problems:
        return "nothing is wrong"
    lines: list[str] = []
    for number, problem in enumerate(problems, 1):
        lines += [
            f"{number:>2}. {problem.level.upper():<7}  {problem.place}: {problem.text}",
            f"             {problem.remedy}",
        ]
    wrong = sum(problem.level is ProblemLevel.WRONG for problem in problems)
    return "\n".join([*lines, f"{wrong} wrong, {len(problems) - wrong} unusual"])
