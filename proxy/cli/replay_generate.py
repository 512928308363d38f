"""`shadow replay generate`: a recording of generated traffic, and the accounts that it is about.

The scorer, which is another program, generates the accounts, their signed credentials and the requests (`python -m scorer populate`).
This command turns them into a recording that `shadow replay` and `shadow journal import` read.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from proxy.cli.exit_codes import Exit
from proxy.cli.output import check_outputs, print_remark
from proxy.config.loader import read_settings
from proxy.demo.children import python_module, run_to_end
from proxy.errors import ChildFailedError
from proxy.private_file import open_private
from proxy.recordings.formats import WRITERS
from proxy.replay.arrival_times import GeneratedRequest, with_arrival_times
from proxy.replay.errors import OptionError
from proxy.replay.schedule import parse_time

BEGIN = "2026-01-01T00:00:00Z"
TIMEOUT_S = 3_600.0
DATABASES = ("live", "shadow")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--out", required=True, metavar="FILE", help="the recording; - for the standard output")
    parser.add_argument(
        "--profile",
        default="mixed",
        help="clashes, errors, mixed, plain, writes, or a YAML file (default: %(default)s)",
    )
    parser.add_argument(
        "--addresses", type=int, default=1_000, metavar="N", help="number of accounts (default: %(default)s)"
    )
    parser.add_argument(
        "--requests", type=int, default=0, metavar="M", help="number of requests (default: one for each account)"
    )
    parser.add_argument("--seed", type=int, default=1, help="equal seeds give equal files (default: %(default)s)")
    parser.add_argument("--rate", default="50/s", help="mean rate of arrivals (default: %(default)s)")
    parser.add_argument(
        "--begin",
        default=BEGIN,
        metavar="TIME",
        help="time of the first request: ISO 8601, or now (default: %(default)s)",
    )
    parser.add_argument("--host", default="api.example", help="the Host header (default: %(default)s)")
    parser.add_argument(
        "--format",
        default="ndjson",
        choices=list(WRITERS),
        help="format of the recording (default: %(default)s)",
    )
    rows = parser.add_argument_group("the accounts, which a database must hold for the requests to succeed")
    rows.add_argument("--sql", metavar="FILE", help="write their rows as a psql script")
    rows.add_argument(
        "--load", choices=DATABASES, help="copy their rows to this database of the configuration, which must be empty"
    )
    rows.add_argument("--config", type=Path, default=Path("config.yaml"), help="for --load (default: %(default)s)")


class _Summary(msgspec.Struct, frozen=True):
    """The output of `python -m scorer populate`."""

    people: int
    rows: int
    targets: int
    trusted_issuers: list[str]


def run(args: argparse.Namespace) -> int:
    """Generate the recording, and print on the standard error which settings the backends need."""
    rate_per_s = _rate(args.rate)
    begin_ns = time.time_ns() if args.begin == "now" else parse_time(args.begin, 0)
    if args.addresses < 1 or args.requests < 0:
        raise OptionError("--addresses must be greater than 0, and --requests not negative")
    if args.sql and args.load:
        raise OptionError("--sql and --load are mutually exclusive")
    check_outputs({"--out": args.out, "--sql": args.sql})
    with tempfile.TemporaryDirectory(prefix="shadow-generate-") as folder:
        path = Path(folder) / "targets.ndjson"
        summary = asyncio.run(_populate(args, path))
        recorded = with_arrival_times(
            _lines(path), seed=args.seed, begin_ns=begin_ns, rate_per_s=rate_per_s, host=args.host
        )
        pieces = WRITERS[args.format](recorded)
        if args.out == "-":
            sys.stdout.buffer.writelines(pieces)
            sys.stdout.buffer.flush()
        else:
            with open_private(Path(args.out)) as file:
                file.writelines(pieces)
    print_remark(_summary_text(args, summary))
    return Exit.DONE


async def _populate(args: argparse.Namespace, targets: Path) -> _Summary:
    """Let the scorer generate accounts and requests.

    Raises:
        OptionError: --load names a database that is not configured, or the scorer refused an option.
        ChildFailedError: the scorer failed; the message has its output.
    """
    command = ["scorer", "populate", "--addresses", str(args.addresses), "--seed", str(args.seed)]
    command += ["--profile", args.profile, "--requests", str(args.requests), "--targets", str(targets)]
    command += ["--sql", args.sql] if args.sql else [] if args.load else ["--no-rows"]
    # A DSN may hold a password: in the environment, unlike in arguments, other users do not see it.
    environment = {"DATABASE_URL": _dsn(args.config, args.load)} if args.load else {}
    what = "generating accounts and requests"
    try:
        output = await run_to_end(python_module(*command), environment, what=what, timeout_s=TIMEOUT_S)
    except ChildFailedError as error:
        if error.status != Exit.USAGE:
            raise
        raise OptionError(str(error)) from error
    return msgspec.json.decode(output, type=_Summary)


def _dsn(config: Path, database: str) -> str:
    databases = read_settings(config).databases
    dsn = databases.live if database == "live" else databases.shadow
    if not dsn:
        raise OptionError(f"--load {database}: databases.{database} of {config} is empty")
    return dsn


def _lines(path: Path) -> Iterator[GeneratedRequest]:
    decoder = msgspec.json.Decoder(GeneratedRequest)
    with path.open("rb") as file:
        yield from map(decoder.decode, file)


def _summary_text(args: argparse.Namespace, summary: _Summary) -> str:
    rows = f", {summary.rows} rows {'in ' + args.sql if args.sql else 'in ' + args.load}" if summary.rows else ""
    issuers = msgspec.json.encode(summary.trusted_issuers).decode()
    inherited = [name for name in ("SECRET_KEY", "CGRANTS_API_TOKEN") if os.environ.get(name)]
    needs = [f"TRUSTED_IAM_ISSUERS='{issuers}'", "HUMAN_POINTS_WRITE_ENABLED=true", "CERAMIC_CACHE_SCORER_ID=1"]
    needs += [] if "SECRET_KEY" in inherited else ["SECRET_KEY=demo"]
    lines = [
        f"{summary.targets} requests in {args.out}, for {summary.people} addresses{rows}",
        f"the backends need {' '.join(needs)}",
    ]
    lines += [f"and the {' and '.join(inherited)} of this environment"] if inherited else []
    return "\n".join(lines) + "\n"


def _rate(text: str) -> float:
    try:
        rate = float(text.removesuffix("/s"))
    except ValueError:
        rate = 0.0
    if not 0 < rate < float("inf"):
        raise OptionError(f"--rate {text}: must be a number greater than 0, e.g. 50/s")
    return rate
