"""`shadow replay generate`: traffic without a recording, and the people it is about.

The scorer makes the people, their really signed credentials and the requests (`python -m scorer populate`: it is another program);
here they become a recording that `shadow replay` and `shadow journal import` read.
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
from proxy.cli.outputs import check_outputs
from proxy.config.loader import read_settings
from proxy.demo.children import finish, python
from proxy.errors import ChildFailedError
from proxy.recordings.formats import WRITERS
from proxy.replay.arrival_times import GeneratedRequest, arriving
from proxy.replay.errors import OptionError
from proxy.replay.schedule import parse_moment

BEGIN = "2026-01-01T00:00:00Z"
TIMEOUT_S = 3_600.0
PLACES = ("live", "shadow")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--out", required=True, metavar="FILE", help="the recording; - for the standard output")
    parser.add_argument(
        "--profile", default="mixed", help="clashes, errors, mixed, plain, writes, or a YAML file of yours"
    )
    parser.add_argument("--addresses", type=int, default=1_000, metavar="N", help="people (default: %(default)s)")
    parser.add_argument("--requests", type=int, default=0, metavar="M", help="default: one for each person")
    parser.add_argument("--seed", type=int, default=1, help="equal seeds make equal files (default: %(default)s)")
    parser.add_argument("--rate", default="50/s", help="how often a request arrives, on average (default: %(default)s)")
    parser.add_argument(
        "--begin", default=BEGIN, metavar="TIME", help="of the first: ISO 8601, or now (default: %(default)s)"
    )
    parser.add_argument("--host", default="api.example", help="the Host header (default: %(default)s)")
    parser.add_argument(
        "--format",
        default="ndjson",
        choices=list(WRITERS),
        help="default: ndjson",
    )
    rows = parser.add_argument_group("the people, whom a database must hold for the traffic to mean something")
    rows.add_argument("--sql", metavar="FILE", help="write their rows as a script for psql")
    rows.add_argument(
        "--load", choices=PLACES, help="copy their rows into this database of the configuration, which is empty"
    )
    rows.add_argument("--config", type=Path, default=Path("config.yaml"), help="for --load (default: %(default)s)")


class _Summary(msgspec.Struct, frozen=True):
    people: int
    rows: int
    targets: int
    trusted_issuers: list[str]


def run(args: argparse.Namespace) -> int:
    """Make them; say on the standard error what the backends must be told."""
    rate_per_s = _rate(args.rate)
    begin_ns = time.time_ns() if args.begin == "now" else parse_moment(args.begin, 0)
    if args.addresses < 1 or args.requests < 0:
        raise OptionError("--addresses is above 0, and --requests not below it")
    if args.sql and args.load:
        raise OptionError("--sql and --load exclude each other")
    check_outputs({"--out": args.out, "--sql": args.sql})
    with tempfile.TemporaryDirectory(prefix="shadow-generate-") as folder:
        path = Path(folder) / "targets.ndjson"
        summary = asyncio.run(_populated(args, path))
        made = arriving(_lines(path), seed=args.seed, begin_ns=begin_ns, rate_per_s=rate_per_s, host=args.host)
        pieces = WRITERS[args.format](made)
        if args.out == "-":
            sys.stdout.buffer.writelines(pieces)
            sys.stdout.buffer.flush()
        else:
            with Path(args.out).open("wb") as file:
                file.writelines(pieces)
    sys.stderr.write(_words(args, summary))
    return 0


async def _populated(args: argparse.Namespace, targets: Path) -> _Summary:
    """Let the scorer make the people and the requests.

    Raises:
        OptionError: --load names a database that the configuration does not, or the scorer refused an option.
        ChildFailedError: the scorer could not; with what it said.
    """
    words = ["scorer", "populate", "--addresses", str(args.addresses), "--seed", str(args.seed)]
    words += ["--profile", args.profile, "--requests", str(args.requests), "--targets", str(targets)]
    words += ["--sql", args.sql] if args.sql else [] if args.load else ["--no-rows"]
    # (a DSN holds a password: by the environment, where other users do not see it)
    environment = {"DATABASE_URL": _dsn(args.config, args.load)} if args.load else {}
    what = "making the people and their requests"
    try:
        told = await finish(python(*words), environment, what=what, timeout_s=TIMEOUT_S)
    except ChildFailedError as error:
        if error.status != Exit.USAGE:
            raise
        raise OptionError(str(error)) from error
    return msgspec.json.decode(told, type=_Summary)


def _dsn(config: Path, place: str) -> str:
    databases = read_settings(config).databases
    dsn = databases.live if place == "live" else databases.shadow
    if not dsn:
        raise OptionError(f"--load {place}: databases.{place} of {config} is empty")
    return dsn


def _lines(path: Path) -> Iterator[GeneratedRequest]:
    decoder = msgspec.json.Decoder(GeneratedRequest)
    with path.open("rb") as file:
        yield from map(decoder.decode, file)


def _words(args: argparse.Namespace, summary: _Summary) -> str:
    rows = f", {summary.rows} rows {'in ' + args.sql if args.sql else 'in ' + args.load}" if summary.rows else ""
    issuers = msgspec.json.encode(summary.trusted_issuers).decode()
    told = [name for name in ("SECRET_KEY", "CGRANTS_API_TOKEN") if os.environ.get(name)]
    needs = [f"TRUSTED_IAM_ISSUERS='{issuers}'", "HUMAN_POINTS_WRITE_ENABLED=true", "CERAMIC_CACHE_SCORER_ID=1"]
    needs += [] if "SECRET_KEY" in told else ["SECRET_KEY=demo"]
    lines = [
        f"{summary.targets} requests in {args.out}, about {summary.people} addresses{rows}",
        f"the backends need {' '.join(needs)}",
    ]
    lines += [f"and the {' and '.join(told)} of this environment"] if told else []
    return "\n".join(lines) + "\n"


def _rate(text: str) -> float:
    try:
        rate = float(text.removesuffix("/s"))
    except ValueError:
        rate = 0.0
    if not 0 < rate < float("inf"):
        raise OptionError(f"--rate {text}: a number above 0, e.g. 50/s")
    return rate
