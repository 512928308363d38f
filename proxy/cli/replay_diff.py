"""`shadow replay diff`: compare the reports of two replays of one recording: causes introduced, resolved, still there."""

import argparse
from pathlib import Path

from proxy.cli.exit_codes import Exit
from proxy.cli.options import print_result
from proxy.cli.replay import read_report
from proxy.replay.baseline import compare_with_baseline, comparison_lines


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("baseline", type=Path, help="the JSON report of the earlier run, with --to both")
    parser.add_argument("run", type=Path, help="the JSON report of the later run of the same recording")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Compare two runs; NEGATIVE when an exchange differs that matched in the baseline, or for another cause."""
    baseline, later = read_report("the baseline", args.baseline), read_report("the run", args.run)
    comparison = compare_with_baseline(baseline, later)
    print_result(args, comparison, "\n".join(comparison_lines(comparison, str(args.baseline))))
    return Exit.NEGATIVE if comparison.new else Exit.DONE
