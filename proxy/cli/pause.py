"""`shadow pause`: stay at this step, whatever the gates say. Automatic rollback goes on."""

import argparse

from proxy.cli.change_output import report
from proxy.config.loader import read_settings
from proxy.rollout.admin_client import add_arguments, change_of, first_answer


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Ask a running proxy; NO when it refused, AWAY when none answered."""
    answer = first_answer(read_settings(args.config), "POST", "/pause", change_of(args))
    return report(answer, as_json=args.json)
