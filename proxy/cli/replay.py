"""`shadow replay`: play a recording to one side or to both, and report the results."""

import argparse
import asyncio
import contextlib
import os
import secrets
import sys
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import uvloop

from comparator.exchanges.model import Role, Side
from comparator.findings.clustering import Clusterer
from comparator.verdict import Comparator
from proxy.cli.exit_codes import Exit
from proxy.cli.output import CONFIG, add_config_option, check_outputs, print_error, print_line, print_remark
from proxy.cli.progress_bar import progress_bar
from proxy.cli.signals import stop_on_signals
from proxy.config.backends import BackendSettings
from proxy.config.loader import read_settings
from proxy.config.settings import Settings
from proxy.errors import InputFileError
from proxy.exception_groups import first_error
from proxy.input_file import read_input
from proxy.journal.redaction import JournalRedactor
from proxy.private_file import write_private
from proxy.recordings.errors import RecordingError
from proxy.recordings.model import RecordedExchange
from proxy.recordings.reader import READABLE, keys_of_recording
from proxy.replay.baseline import (
    RunComparison,
    check_comparable,
    compare_with_baseline,
    comparison_lines,
    new_text,
    unjudged_text,
)
from proxy.replay.compare_run import BothSides, ReplayVerdicts, open_shadow
from proxy.replay.credentials import MissingCredentials, ReplayCredentials, credentials_of
from proxy.replay.errors import IncompleteError, OptionError
from proxy.replay.http_target import ReplayTarget, UrlRewrite, open_target
from proxy.replay.recording_reader import Recording, TimeSpan
from proxy.replay.report import ReplayReport, parse_fail_rules, parse_report, render_json, render_text
from proxy.replay.report_diff import differing_members
from proxy.replay.report_folder import ReportFolder
from proxy.replay.schedule import parse_condition, parse_pace
from proxy.replay.session import OneSide, RecordHandler, Session
from proxy.replay.tally import Tally
from proxy.runner.result_sink import redactor_of
from proxy.serving.routing import compile_routes
from proxy.ui.report_file import render_file

CONCURRENCY = 64
BOTH = "both"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("source", help="a journal's folder, a recording file, or - for the standard input")
    add_config_option(parser)
    parser.add_argument("--format", choices=READABLE, help="default: detected")
    parser.add_argument("--to", required=True, choices=[*(side.value for side in Side), BOTH])
    parser.add_argument("--instance", default="shadow", help="live, shadow or a URL (default: %(default)s)")
    _configure_schedule(parser)
    _configure_requests(parser)
    output = parser.add_argument_group("report")
    output.add_argument("--json", metavar="FILE", help="write the report as JSON; - for the standard output")
    output.add_argument(
        "--fail-on",
        default="",
        metavar="RULES",
        help="exit with code 1 when one certainly holds, by the 95 %% interval of its figure, e.g. error-rate>0.01,p95-ratio>1.0",
    )
    output.add_argument(
        "--same-as",
        type=Path,
        metavar="FILE",
        help="an earlier JSON report; exit with code 1 when this one differs in more than times",
    )
    output.add_argument(
        "--baseline",
        type=Path,
        metavar="FILE",
        help="an earlier JSON report of the same recording with --to both: print which causes are introduced, resolved or still there",
    )
    output.add_argument(
        "--fail-on-new",
        action="store_true",
        help="exit with code 1 when an exchange differs that matched in --baseline, or for another cause",
    )
    output.add_argument("--html", metavar="FILE", help="write the report as one HTML file with charts")
    output.add_argument("--no-progress", action="store_true", help="show no progress bar")


def _configure_schedule(parser: argparse.ArgumentParser) -> None:
    schedule = parser.add_argument_group("schedule")
    schedule.add_argument("--speed", default="", help="a multiple of the recording's own, or max (default: 1x)")
    schedule.add_argument("--rate", default="", help="requests a second, evenly spaced, e.g. 200/s")
    schedule.add_argument("--ramp", default="", help="increase to full speed over this time, e.g. 30s")
    schedule.add_argument(
        "--loop", type=int, default=1, help="passes over the recording; 0 for endless (default: %(default)s)"
    )
    schedule.add_argument(
        "--concurrency",
        type=int,
        default=0,
        help=f"requests in flight, one for each key (default: {CONCURRENCY}; always 1 with --to both)",
    )
    schedule.add_argument("--from", dest="begin", default="", metavar="TIME", help="ISO 8601, or +30s after the first")
    schedule.add_argument(
        "--until", dest="end", default="", metavar="TIME", help="end of the selection (exclusive), as --from"
    )
    schedule.add_argument(
        "--filter",
        action="append",
        default=[],
        metavar="COND",
        help="select records, e.g. route=v2_*: route, key, method, path, status or side; = or !=",
    )
    schedule.add_argument("--state", type=Path, help="store the progress here, and continue from it")


def _configure_requests(parser: argparse.ArgumentParser) -> None:
    requests = parser.add_argument_group("requests")
    requests.add_argument(
        "--host", default="", help="Host header; preserve for the recorded one (default: the target's)"
    )
    requests.add_argument(
        "--base-path", default="", help="put before every path (default: the path of the target's URL)"
    )
    requests.add_argument("--strip-path", default="", help="remove from the beginning of every path first")
    requests.add_argument(
        "--unmarked", action="store_true", help="do not mark requests as shadow traffic: a proxy will journal them"
    )
    requests.add_argument(
        "--timeout", type=float, default=10.0, help="seconds to wait for a response (default: %(default)s)"
    )
    requests.add_argument(
        "--bodies",
        type=Path,
        metavar="DIR",
        help="allow vegeta targets to name bodies in this folder too (default: the folder of the recording)",
    )
    requests.add_argument(
        "--sealed",
        choices=["open", "leave"],
        default="open",
        help="send the secrets of a journal, or their digests (default: %(default)s)",
    )
    requests.add_argument(
        "--play-cut", action="store_true", help="also send requests of which only a part was recorded, as far as it was"
    )
    requests.add_argument(
        "--strict",
        action="store_true",
        help="send nothing and exit with code 1 when the recording holds records that are cut, malformed or not requests, or "
        "requests whose credentials are missing (known at the end only for the standard input)",
    )


def run(args: argparse.Namespace) -> int:
    """Play a recording and print the report.

    Returns:
        NEGATIVE when a rule of --fail-on holds, the report differs from --same-as, --fail-on-new finds something, --baseline cannot be
        compared with, or --strict is not satisfied, UNAVAILABLE when a
        side never responded, INTERRUPTED when the replay was interrupted, else DONE.
    """
    parse_fail_rules(args.fail_on)
    check_outputs({"--json": args.json, "--html": args.html})
    earlier = read_report("--same-as", args.same_as) if args.same_as else None
    baseline = _baseline(args)
    settings = read_settings(args.config, default="{}" if args.config == CONFIG else None)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            report = runner.run(replay(settings, args, os.environ))
    except IncompleteError as error:
        print_error("replay", error)
        return Exit.NEGATIVE
    except BaseExceptionGroup as group:
        raise first_error(group) from group
    comparison, refused = _compared(baseline, report)
    report = _judged(report, args, earlier, comparison, refused)
    _write(report, args, comparison_lines(comparison, str(args.baseline)) if comparison else [])
    if settings.replay.reports_directory:
        print_remark(f"report: {ReportFolder(Path(settings.replay.reports_directory)).store(report)}")
    if report.violations:
        return Exit.NEGATIVE
    if not report.finished:
        return Exit.INTERRUPTED
    for side in report.silent_sides:
        print_error("replay", f"{side} responded to no request; is its {args.instance} instance running?")
    return Exit.UNAVAILABLE if report.silent_sides else Exit.DONE


def _judged(
    report: ReplayReport,
    args: argparse.Namespace,
    earlier: ReplayReport | None,
    comparison: RunComparison | None,
    refused: str,
) -> ReplayReport:
    """Return the report with the reasons for which it fails, and those for which it may have."""
    rules = parse_fail_rules(args.fail_on)
    violations = [text for rule in rules if (text := rule.violation(report))]
    doubts = [text for rule in rules if (text := rule.doubt(report))]
    if earlier and (differing := differing_members(earlier, report)):
        violations.append(f"not the same as {args.same_as}: {', '.join(differing)}")
    if refused:
        violations.append(f"--baseline {args.baseline}: {refused}")
    if comparison and comparison.new and args.fail_on_new:
        violations.append(new_text(comparison))
    if comparison and comparison.unjudged:
        doubts.append(unjudged_text(comparison))
    if args.strict and (incomplete := _incomplete(report)):
        violations.append(f"--strict: {incomplete}")
    limits = [part.strip() for part in args.fail_on.split(",") if part.strip()]
    limits += ["--fail-on-new"] if args.fail_on_new else []
    limits += ["--same-as"] if earlier else []
    return msgspec.structs.replace(report, violations=tuple(violations), doubts=tuple(doubts), limits=tuple(limits))


def _incomplete(report: ReplayReport) -> str:
    """Return why a recording of the standard input does not satisfy --strict; "" if it does."""
    read = report.read
    if read.cut or read.not_http or read.skipped or read.malformed:
        return read.text
    lacking = sum(sum(side.without_credentials.values()) for side in report.sides.values())
    return f"{lacking} requests were sent without credentials" if lacking else ""


def read_report(name: str, path: Path) -> ReplayReport:
    """Read an earlier report; `name` is the argument that it was given by.

    Raises:
        OptionError: the file is not a report.
    """
    try:
        return parse_report(read_input(path))
    except InputFileError as error:
        raise OptionError(f"{name} {error}") from error
    except OptionError as error:
        raise OptionError(f"{name} {path}: {error}") from error


def _baseline(args: argparse.Namespace) -> ReplayReport | None:
    """Read the report of --baseline.

    Raises:
        OptionError: it cannot be compared with what this replay will report.
    """
    if args.fail_on_new and not args.baseline:
        raise OptionError("--fail-on-new needs --baseline: the report of an earlier run of the same recording")
    if not args.baseline:
        return None
    if args.to != BOTH:
        raise OptionError("--baseline needs --to both: with one side there are no causes to compare")
    baseline = read_report("--baseline", args.baseline)
    check_comparable(f"--baseline {args.baseline}", baseline)
    return baseline


def _compared(baseline: ReplayReport | None, report: ReplayReport) -> tuple[RunComparison | None, str]:
    """Return the comparison with a baseline, or why there is none."""
    if baseline is None:
        return None, ""
    try:
        return compare_with_baseline(baseline, report), ""
    except OptionError as error:
        return None, str(error)


def _write(report: ReplayReport, args: argparse.Namespace, compared: list[str]) -> None:
    if args.json == "-":
        print_line(render_json(report).decode())
    else:
        sys.stdout.write(render_text(report, compared))
    if args.json and args.json != "-":
        write_private(Path(args.json), render_json(report))
    if args.html:
        write_private(Path(args.html), render_file(report).encode())


async def replay(settings: Settings, args: argparse.Namespace, environ: Mapping[str, str]) -> ReplayReport:
    """Play a recording until its end or SIGINT, and return the report.

    Raises:
        ReplayError, RecordingError: the replay cannot begin.
    """
    pace = parse_pace(speed=args.speed, rate=args.rate, ramp=args.ramp)
    concurrency = _concurrency(args)
    recording = _recording(settings, args, environ)
    credentials = credentials_of(settings.replay, environ)
    span = _surveyed(recording, credentials, args)
    stop, tally = asyncio.Event(), Tally()
    stop_on_signals(stop)
    # With the journal's key, a secret has the same digest in every replay.
    salt = recording.keys.digest if recording.keys else secrets.token_bytes()
    async with _open_handler(settings, args, tally, concurrency, salt) as handler:
        session = Session(
            recording=recording,
            handler=handler,
            tally=tally,
            credentials=credentials,
            pace=pace,
            loops=args.loop,
            concurrency=concurrency,
            to=f"{args.to} ({args.instance})",
            pace_text=args.rate or args.speed or "1x",
            state=args.state,
            plays_cut=args.play_cut,
        )
        total = session.total(span)
        shown = not args.no_progress
        async with progress_bar(total, lambda: session.done, lambda: tally.failed, shown=shown):
            report = await session.play(stop)
    if span is None and not recording.counts.complete:
        for line in recording.counts.lines():
            print_remark(line)
    return report


def _surveyed(recording: Recording, credentials: ReplayCredentials, args: argparse.Namespace) -> TimeSpan | None:
    """Read the recording, and say what of it will not be sent, or not as it was recorded.

    Raises:
        RecordingError: it cannot be read, or holds no request.
        OptionError: nothing is selected.
        IncompleteError: with --strict, something is to be said.
    """
    missing = MissingCredentials()

    def inspect(recorded: RecordedExchange) -> None:
        if args.play_cut or not recorded.request.body_truncated:
            missing.add(recorded.route, credentials.with_values(recorded.request).missing)

    span, counts = recording.survey(inspect), recording.counts
    if span is None:
        return None
    for line in [*([] if counts.complete else counts.lines()), *missing.lines()]:
        print_remark(line)
    if args.strict and not (counts.complete and not missing.requests):
        raise IncompleteError(f"nothing was sent, because of --strict: {counts}; {missing}")
    if not counts.requests and not (counts.cut and args.play_cut):
        raise RecordingError(f"{args.source}: no request to send: {counts}")
    if not span.count:
        raise OptionError(f"{args.source}: no record is selected; check --from, --until and --filter")
    return span


def _concurrency(args: argparse.Namespace) -> int:
    """Return the number of requests in flight.

    Raises:
        OptionError: --concurrency or --loop cannot be used here.
    """
    if args.loop < 0 or args.concurrency < 0 or (args.loop != 1 and args.source == "-"):
        raise OptionError(
            "--loop and --concurrency must not be negative, and the standard input can be played only once"
        )
    if args.to != BOTH:
        return args.concurrency or CONCURRENCY
    if args.concurrency > 1:
        raise OptionError("--to both requires --concurrency 1: concurrent requests would see each other's rows")
    return 1


def _recording(settings: Settings, args: argparse.Namespace, environ: Mapping[str, str]) -> Recording:
    keys = keys_of_recording(args.source, environ)
    leave = keys is not None and args.sealed == "leave"
    return Recording(
        source=args.source,
        format_name=args.format,
        keys=keys,
        redactor=JournalRedactor(settings.journal.redaction, keys.active) if keys and leave else None,
        host=args.host if args.host != "preserve" else "",
        bodies=args.bodies,
        routes=compile_routes(settings.routes),
        conditions=[parse_condition(text) for text in args.filter],
        begin=args.begin,
        end=args.end,
    )


@contextlib.asynccontextmanager
async def _open_handler(
    settings: Settings, args: argparse.Namespace, tally: Tally, concurrency: int, salt: bytes
) -> AsyncGenerator[RecordHandler]:
    rewrite = UrlRewrite(args.host, args.base_path.rstrip("/"), args.strip_path, not args.unmarked)
    sides = [*Side] if args.to == BOTH else [Side(args.to)]
    if args.to == BOTH and args.instance != "shadow":
        raise OptionError("--to both requires --instance shadow: row changes are undone in the shadow database only")
    async with contextlib.AsyncExitStack() as stack:
        targets: dict[Side, ReplayTarget] = {}
        for side in sides:
            backend = msgspec.structs.replace(_backend(settings, side, args.instance), connections_max=concurrency)
            targets[side] = await stack.enter_async_context(open_target(backend, rewrite, timeout_s=args.timeout))
            await targets[side].connect()
        if args.to != BOTH:
            yield OneSide(args.to, targets[sides[0]], tally)
            return
        shadow = await stack.enter_async_context(open_shadow(settings))
        results = ReplayVerdicts(
            Clusterer(settings.compare.dynamic, tables=settings.compare.tables),
            redactor_of(settings.compare, settings.journal.redaction, salt),
        )
        tables = {route.name: route.tables for route in settings.routes}
        yield BothSides(targets, shadow, Comparator(settings.compare), tally, results, tables)


def _is_http_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _backend(settings: Settings, side: Side, instance: str) -> BackendSettings:
    """Return the backend that --instance names.

    Raises:
        OptionError: it has no URL.
    """
    if instance not in ("live", "shadow"):
        if not _is_http_url(instance):
            raise OptionError(f"--instance {instance}: must be live, shadow or an http(s) URL")
        return BackendSettings(url=instance)
    backend = settings.backends.of(side, Role.SERVED if instance == "live" else Role.MIRRORED)
    if not backend.url:
        raise OptionError(f"backends.{side}.{instance}.url is empty; set it, or give --instance a URL")
    return backend
