"""Duration and repeatability of a replay to both sides: one generated recording, twice from one snapshot.

`make bench-replay-both` (ARGS: --addresses 10000 --requests 0 --profile mixed --seed 1 --keep FOLDER). The installation is that of
`make demo` without a proxy: a PostgreSQL from the wheel, the new scorer and the legacy stand-in on a shadow database. The steps are
commands: `shadow replay generate`, `shadow snapshot create`, `shadow replay --to both`, `shadow snapshot restore`, and `shadow replay
--to both` again. The last line is the result as JSON; exit code 1 when the two reports differ.
"""

import argparse
import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from proxy.demo.embedded_postgres import EmbeddedPostgres
from proxy.demo.installation import DemoOptions, prepared
from tests.support.replay_twice import TwoReplays, replay_twice


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--addresses", type=int, default=10_000)
    parser.add_argument("--requests", type=int, default=0, help="default: one for each address")
    parser.add_argument("--profile", default="mixed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--divergences", default="", help="divergences of the legacy, as of `shadow demo`")
    parser.add_argument("--keep", type=Path, help="keep reports and logs in this folder")
    args = parser.parse_args()
    folder = args.keep or Path(tempfile.mkdtemp(prefix="shadow-bench-"))
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    try:
        with EmbeddedPostgres(folder / "pg") as server:
            twice = asyncio.run(_both(server.dsn(), folder, args))
    finally:
        shutil.rmtree(folder if args.keep is None else folder / "pg", ignore_errors=True)
    sys.stdout.write(json.dumps(_figures(twice, args)) + "\n")
    return 0 if twice.equal else 1


async def _both(dsn: str, folder: Path, args: argparse.Namespace) -> TwoReplays:
    options = DemoOptions(
        folder, args.addresses, args.seed, args.divergences, profile=args.profile, prefix="bench_replay_"
    )
    started_s = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - started_s:8.1f} s  {text}", flush=True)

    twice = await replay_twice(await prepared(dsn, options, say), args.requests or args.addresses, say)
    print(twice.text)
    return twice


def _figures(twice: TwoReplays, args: argparse.Namespace) -> dict[str, object]:
    first, second = twice.reports
    return {
        "addresses": args.addresses,
        "records": first.sent // 2,
        "cores": os.cpu_count(),
        "records_per_s": [round(report.sent / 2 / report.duration_s, 1) for report in (first, second)],
        "duration_s": [first.duration_s, second.duration_s],
        "verdicts": json.loads(
            json.dumps({name: getattr(first.verdicts, name) for name in ("compared", "match", "mismatch", "failed")})
        ),
        "verdicts_digests": [first.verdicts_digest, second.verdicts_digest],
        "same": twice.equal,
    }


if __name__ == "__main__":
    sys.exit(main())
