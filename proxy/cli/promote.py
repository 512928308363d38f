"""`shadow promote`: one step ahead, if the gates are open. It is stored before it takes effect, so the store must be up."""

import argparse

from proxy.cli.change_output import report
from proxy.config.loader import read_settings
from proxy.rollout.admin_client import add_arguments, change_of, first_answer


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_arguments(parser)
    parser.add_argument("--force", action="store_true", help="promote through closed gates; recorded as such")


def run(args: argparse.Namespace) -> int:
    """Ask a running proxy; NO when it refused, AWAY when none answered."""
    answer = first_answer(read_settings(args.config), "POST", "/promote", change_of(args))
    return report(answer, as_json=args.json)
