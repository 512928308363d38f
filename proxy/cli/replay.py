"""`shadow replay`: play a recording to one side or to both, and say what was found."""

import argparse
import asyncio
import contextlib
import os
import secrets
import sys
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import msgspec
import uvloop

from comparator.exchanges.model import Role, Side
from comparator.findings.clustering import Clusterer
from comparator.verdict import Comparator
from proxy.cli.exit_codes import Exit
from proxy.cli.outputs import check_outputs
from proxy.cli.progress_bar import progress_bar
from proxy.cli.signals import stop_on_signals
from proxy.config.backends import BackendSettings
from proxy.config.loader import read_settings
from proxy.config.settings import Settings
from proxy.errors import JournalKeyError
from proxy.journal.keys import load_keys
from proxy.journal.redaction import RedactionKeys
from proxy.recordings.reader import READABLE
from proxy.replay.compare_run import BothSides, ReplayVerdicts, open_shadow
from proxy.replay.credentials import credentials_of
from proxy.replay.errors import OptionError
from proxy.replay.html_report import as_html
from proxy.replay.http_target import ReplayTarget, UrlRewrite, open_target
from proxy.replay.recording_reader import Recording
from proxy.replay.report import ReplayReport, as_json, as_text, parse_rules
from proxy.replay.report_diff import differences
from proxy.replay.schedule import parse_condition, parse_pace
from proxy.replay.session import OneSide, RecordHandler, Session
from proxy.replay.tally import Tally
from proxy.runner.result_sink import redactor_of
from proxy.serving.routing import compile_routes

CONCURRENCY = 64
CONFIG = Path("config.yaml")
BOTH = "both"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("source", help="a journal's folder, a recording file, or - for the standard input")
    parser.add_argument("--config", type=Path, default=CONFIG, help="default: %(default)s")
    parser.add_argument("--format", choices=READABLE, help="default: found out")
    parser.add_argument("--to", required=True, choices=[*(side.value for side in Side), BOTH])
    parser.add_argument("--instance", default="shadow", help="live, shadow or a URL (default: %(default)s)")
    _configure_schedule(parser)
    _configure_requests(parser)
    output = parser.add_argument_group("report")
    output.add_argument("--json", metavar="FILE", help="write the report as JSON; - for the standard output")
    output.add_argument(
        "--fail-on", default="", metavar="RULES", help="e.g. error-rate>0.01,p95-ratio>1.0: exit code 1"
    )
    output.add_argument(
        "--same-as", type=Path, metavar="FILE", help="an earlier JSON report; exit code 1 when more than times differs"
    )
    output.add_argument("--html", metavar="FILE", help="write the report as one HTML file with pictures")
    output.add_argument("--no-progress", action="store_true", help="show no progress bar")


def _configure_schedule(parser: argparse.ArgumentParser) -> None:
    schedule = parser.add_argument_group("schedule")
    schedule.add_argument("--speed", default="", help="a multiple of the recording's own, or max (default: 1x)")
    schedule.add_argument("--rate", default="", help="requests a second, evenly spaced, e.g. 200/s")
    schedule.add_argument("--ramp", default="", help="grow to full speed over this time, e.g. 30s")
    schedule.add_argument("--loop", type=int, default=1, help="passes over the recording; 0: until interrupted")
    schedule.add_argument(
        "--concurrency",
        type=int,
        default=0,
        help=f"at the same time (default: {CONCURRENCY}; to both always 1); one a key",
    )
    schedule.add_argument("--from", dest="begin", default="", metavar="TIME", help="ISO 8601, or +30s after the first")
    schedule.add_argument("--until", dest="end", default="", metavar="TIME", help="likewise; it is not included")
    schedule.add_argument(
        "--filter", action="append", default=[], metavar="COND", help="route=, key=, method=, path=, status=, side="
    )
    schedule.add_argument("--state", type=Path, help="remember here how far the replay is, and go on from there")


def _configure_requests(parser: argparse.ArgumentParser) -> None:
    requests = parser.add_argument_group("requests")
    requests.add_argument("--host", default="", help="Host to send; preserve: the recorded one (default: the target's)")
    requests.add_argument(
        "--base-path", default="", help="put before every path (default: the path of the target's URL)"
    )
    requests.add_argument("--strip-path", default="", help="take away from the beginning of every path first")
    requests.add_argument(
        "--unmarked", action="store_true", help="do not mark as shadow traffic: a proxy will journal it"
    )
    requests.add_argument("--timeout", type=float, default=10.0, help="seconds for an answer (default: %(default)s)")
    requests.add_argument(
        "--bodies",
        type=Path,
        metavar="DIR",
        help="read bodies that vegeta's targets name from below here too (default: their folder)",
    )
    requests.add_argument("--sealed", choices=["open", "leave"], default="open", help="what a journal has sealed")


def run(args: argparse.Namespace) -> int:
    """Play; NO when a rule of --fail-on is broken or it is not --same-as, AWAY when a side never responded, INTERRUPTED when it was."""
    rules = parse_rules(args.fail_on)
    check_outputs({"--json": args.json, "--html": args.html})
    earlier = _earlier(args.same_as) if args.same_as else None
    settings = Settings() if args.config == CONFIG and not CONFIG.exists() else read_settings(args.config)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            report = runner.run(replay(settings, args, os.environ))
    except BaseExceptionGroup as group:
        raise _first(group) from group
    broken = [said for rule in rules if (said := rule.broken_by(report))]
    if earlier and (differing := differences(earlier, report)):
        broken.append(f"not the same as {args.same_as}: {', '.join(differing)}")
    _write(report, args, broken)
    if broken:
        return Exit.NEGATIVE
    if not report.finished:
        return Exit.INTERRUPTED
    for side in report.silent:
        sys.stderr.write(
            f"shadow replay: the {side} gave no response to any request; is its {args.instance} instance up?\n"
        )
    return Exit.UNAVAILABLE if report.silent else Exit.DONE


def _earlier(path: Path) -> ReplayReport:
    """A report of before.

    Raises:
        OptionError: it is none.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=ReplayReport)
    except (OSError, msgspec.MsgspecError) as error:
        raise OptionError(f"--same-as {path}: {error}") from error


def _first(error: BaseException) -> BaseException:
    """What a task group ran into, without the groups around it."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    return _first(cast("BaseExceptionGroup[BaseException]", error).exceptions[0])


def _write(report: ReplayReport, args: argparse.Namespace, broken: list[str]) -> None:
    if args.json == "-":
        sys.stdout.write(as_json(report).decode() + "\n")
    else:
        sys.stdout.write(as_text(report, broken))
    if args.json and args.json != "-":
        Path(args.json).write_bytes(as_json(report))
    if args.html:
        Path(args.html).write_text(as_html(report, broken), encoding="utf-8")


async def replay(settings: Settings, args: argparse.Namespace, environ: Mapping[str, str]) -> ReplayReport:
    """Play as the arguments say, until the end or SIGINT.

    Raises:
        ReplayError: it cannot begin; the message says why.
    """
    pace = parse_pace(speed=args.speed, rate=args.rate, ramp=args.ramp)
    concurrency = _concurrency(args)
    recording = _recording(settings, args, environ)
    span = recording.survey()
    if span is not None and not span.count:
        raise OptionError(f"{args.source}: no record is selected, so there is nothing to play")
    stop, tally = asyncio.Event(), Tally()
    stop_on_signals(stop)
    # The journal's key keeps a secret's digest the same from replay to replay.
    salt = recording.keys.digest if recording.keys else secrets.token_bytes()
    async with _opened(settings, args, tally, concurrency, salt) as does:
        session = Session(
            recording=recording,
            does=does,
            tally=tally,
            credentials=credentials_of(settings.replay, environ),
            pace=pace,
            loops=args.loop,
            concurrency=concurrency,
            to=f"{args.to} ({args.instance})",
            pace_words=args.rate or args.speed or "1x",
            state=args.state,
        )
        total = session.total(span)
        shown = not args.no_progress
        async with progress_bar(total, lambda: session.done, lambda: tally.failed, shown=shown):
            return await session.play(stop)


def _concurrency(args: argparse.Namespace) -> int:
    """How many records at the same time.

    Raises:
        OptionError: it cannot be, or the passes cannot.
    """
    if args.loop < 0 or args.concurrency < 0 or (args.loop != 1 and args.source == "-"):
        raise OptionError("--loop and --concurrency are not negative, and the standard input has one pass")
    if args.to != BOTH:
        return args.concurrency or CONCURRENCY
    if args.concurrency > 1:
        raise OptionError("--to both does one record after the other: what runs at the same time sees the other's rows")
    return 1


def _recording(settings: Settings, args: argparse.Namespace, environ: Mapping[str, str]) -> Recording:
    return Recording(
        source=args.source,
        format_name=args.format,
        keys=_keys(args.source, environ) if args.sealed == "open" else None,
        host=args.host if args.host != "preserve" else "",
        bodies=args.bodies,
        routes=compile_routes(settings.routes),
        conditions=[parse_condition(text) for text in args.filter],
        begin=args.begin,
        end=args.end,
    )


@contextlib.asynccontextmanager
async def _opened(
    settings: Settings, args: argparse.Namespace, tally: Tally, concurrency: int, salt: bytes
) -> AsyncGenerator[RecordHandler]:
    rewrite = UrlRewrite(args.host, args.base_path.rstrip("/"), args.strip_path, not args.unmarked)
    sides = [*Side] if args.to == BOTH else [Side(args.to)]
    if args.to == BOTH and args.instance != "shadow":
        raise OptionError("--to both is only for the shadow instances: what it does is undone in the shadow database")
    async with contextlib.AsyncExitStack() as stack:
        targets: dict[Side, ReplayTarget] = {}
        for side in sides:
            backend = msgspec.structs.replace(_backend(settings, side, args.instance), connections_max=concurrency)
            targets[side] = await stack.enter_async_context(open_target(backend, rewrite, timeout_s=args.timeout))
        if args.to != BOTH:
            yield OneSide(args.to, targets[sides[0]], tally)
            return
        shadow = await stack.enter_async_context(open_shadow(settings))
        judged = ReplayVerdicts(Clusterer(settings.compare.dynamic), redactor_of(settings.compare, settings.journal.redaction, salt))
        yield BothSides(targets, shadow, Comparator(settings.compare), tally, judged)


def _backend(settings: Settings, side: Side, instance: str) -> BackendSettings:
    """The instance that is meant.

    Raises:
        OptionError: it has no URL.
    """
    if instance not in ("live", "shadow"):
        if urlsplit(instance).scheme not in ("http", "https") or not urlsplit(instance).hostname:
            raise OptionError(f"--instance {instance}: live, shadow or an http(s) URL")
        return BackendSettings(url=instance)
    backend = settings.backends.of(side, Role.SERVED if instance == "live" else Role.MIRRORED)
    if not backend.url:
        raise OptionError(f"backends.{side}.{instance}.url is empty; set it, or name a URL by --instance")
    return backend


def _keys(source: str, environ: Mapping[str, str]) -> RedactionKeys | None:
    """The key of a journal, where the source is one and the key is there."""
    folder = Path(source)
    if not folder.is_dir():
        return None
    try:
        return load_keys(folder, environ)
    except JournalKeyError:
        return None
