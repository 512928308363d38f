"""`shadow compare CASE...`: compare exported cases again, offline."""

import argparse
import datetime as dt
from pathlib import Path

from comparator.errors import CaseError
from comparator.exchanges.comparison import Verdict
from comparator.findings.cases import OpenedCase, load, open_case
from comparator.findings.rule_trial import compare_case
from comparator.store.comparison_detail import ComparisonDetail, detail_of
from comparator.store.report import explain, render_comparison
from comparator.verdict import Comparator
from proxy.cli.exit_codes import Exit
from proxy.cli.options import add_common_options, print_result, read_configuration
from proxy.errors import InputFileError
from proxy.input_file import read_input


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("case", type=Path, nargs="+", help="files written by `shadow findings export`")
    parser.add_argument("--explain", action="store_true", help="also print which rule applied where")
    parser.add_argument("--detail", action="store_true", help="also print how objects and arrays differ inside")
    add_common_options(parser)


def run(args: argparse.Namespace) -> int:
    """Compare every case; NEGATIVE when one of them mismatches or could not be compared."""
    comparator = Comparator(read_configuration(args).compare)
    now = dt.datetime.now(dt.UTC)
    results: list[tuple[str, Verdict, ComparisonDetail]] = []
    texts: list[str] = []
    for path in args.case:
        opened = read_case(path)
        comparison = compare_case(comparator, opened, now=now)
        results.append((str(path), comparison.verdict, detail_of(comparison)))
        texts.append(f"{path}: {render_comparison(comparison, in_detail=args.detail)}")
        if args.explain:
            texts.append(explain(comparison))
    shown = [{"case": name, "verdict": verdict, "detail": detail} for name, verdict, detail in results]
    print_result(args, shown, "\n".join(texts))
    verdicts = {verdict for _, verdict, _ in results}
    return Exit.NEGATIVE if verdicts & {Verdict.MISMATCH, Verdict.FAILED} else Exit.DONE


def read_case(path: Path) -> OpenedCase:
    """Read a case from a file.

    Raises:
        InputFileError: it cannot be read, or is not a case.
    """
    data = read_input(path)
    try:
        return open_case(load(data))
    except CaseError as error:
        raise InputFileError(f"{path}: {error}") from error
