"""`shadow rollback`: let the legacy serve everything, at once.

All ways at a time: the admin port of every proxy that config.yaml names (in effect at once), the files of this machine (in effect
within POLL_S in every proxy here, and at the next start), and the database, from which proxies that nobody can reach now will learn
it. One of them is enough; nothing else needs to be up. The requests are on their way before the rest of the program is loaded.
"""

# ruff: noqa: PLC0415 (imports that take a second must not stand between the person on call and the request)

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from typing import Any

from proxy.cli.exit_codes import Exit
from proxy.config.loader import read_settings
from proxy.config.settings import Settings
from proxy.errors import ProxyError
from proxy.rollout.admin_client import (
    AdminResponse,
    Broadcast,
    add_arguments,
    all_targets,
    change_of,
    first_answer,
    token_of,
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_arguments(parser)
    parser.add_argument("--dry-run", action="store_true", help="change nothing; say what rolling back would lose")


def run(args: argparse.Namespace) -> int:
    """Roll back; NO when a proxy may still serve from the candidate."""
    settings = read_settings(args.config)
    if args.dry_run:
        return _dry_run(settings, as_json=args.json)
    change = change_of(args)
    with Broadcast(
        all_targets(settings), "POST", "/rollback", body=change, token=token_of(settings, rollback=True)
    ) as asking:
        stored = _on_this_machine(settings, change)
        answers = asking.answers()
    if settings.databases.store and not any(answer.ok for answer in answers):
        _say_to_database(settings)
    done = _done(answers, stored=stored)
    if args.json:
        print(json.dumps(_document(answers, stored=stored, done=done)))  # noqa: T201 (a command's answer)
    else:
        print("\n".join(_words(settings, answers, stored=stored, done=done)))  # noqa: T201 (a command's answer)
    return Exit.DONE if done else Exit.NEGATIVE


def _on_this_machine(settings: Settings, change: dict[str, Any]) -> bool:
    """Write switch and state; whether one of them is on the disk."""
    from proxy.rollout.control import ChangeRequest
    from proxy.rollout.offline import offline_control

    asked = ChangeRequest(change["actor"], change["reason"], group=change["group"], id=change["id"])
    control = offline_control(settings, dsn=settings.databases.store)
    control.rollback(asked)
    return control.switch.stored if not asked.group else control.replica.states[asked.group].phase.latched


def _say_to_database(settings: Settings) -> None:
    """No proxy took it: those that nobody reaches from here may still read the database."""
    from proxy.rollout.offline import connected_control

    async def sync() -> None:
        async with connected_control(settings):
            pass

    try:
        asyncio.run(sync())
    except ProxyError as error:
        print(error, file=sys.stderr)  # noqa: T201 (a command's answer)


def _done(answers: Sequence[AdminResponse], *, stored: bool) -> bool:
    took = [answer for answer in answers if answer.ok]
    return all(answer.ok or answer.down for answer in answers) and (bool(took) or stored)


def _document(answers: Sequence[AdminResponse], *, stored: bool, done: bool) -> dict[str, Any]:
    proxies = [
        {"proxy": str(one.target), "rolled_back": one.ok, "running": not one.down, "error": one.error}
        for one in answers
    ]
    return {"rolled_back": done, "stored": stored, "proxies": proxies}


def _words(settings: Settings, answers: Sequence[AdminResponse], *, stored: bool, done: bool) -> list[str]:
    lines: list[str] = []
    for answer in answers:
        if answer.ok:
            lines.append(f"{answer.target}  serves from the legacy")
        elif answer.down:
            lines.append(f"{answer.target}  is not running")
        else:
            lines.append(f"{answer.target}  NOT REACHED: {answer.error}; it learns of it when it is back")
    lines.append(f"stored in {settings.serve.state_file}" if stored else f"NOT STORED in {settings.serve.state_file}")
    lines.append("rolled back" if done else "NOT ROLLED BACK everywhere: see above")
    return lines


def _dry_run(settings: Settings, *, as_json: bool) -> int:
    from proxy.rollout import rollback_impact as readiness

    answer = first_answer(settings, "GET", "/rollout/readiness")
    found = answer.document if answer.ok else asyncio.run(readiness.assess_impact(settings))
    if as_json:
        print(json.dumps(found))  # noqa: T201 (a command's answer)
    else:
        print(readiness.render(found))  # noqa: T201 (a command's answer)
    return Exit.DONE
