"""`shadow promote`, `pause`, `resume` and `rollback`: change the rollout.

A promotion and a pause are made by a running proxy, and name the state that they were decided on: of two operators who promote at the
same moment, one is told that the other was first. A resume is made by a running proxy, or with none running by this command, in this
machine's files and in the database. A rollback goes all ways at once: to the admin port of every proxy that config.yaml names (in effect
at once), into the files of this machine (in effect within proxy.rollout.switch.POLL_S in every proxy here, and at the next start),
and, when no proxy took it, into the database, from which proxies that cannot be reached from here will learn of it. One of these ways
is enough, and nothing else needs to be up.

From here to the switch: a command changes the rollout on this machine through `proxy.rollout.control`, which owns
`proxy.rollout.switch`, just as the admin port of a running proxy does.
"""

# ruff: noqa: PLC0415 (imports that take a second must not delay the requests of a rollback)

import argparse
import asyncio
import getpass
import json
import os
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from proxy.cli.exit_codes import Exit
from proxy.cli.output import add_config_option, print_error, print_line, print_remark
from proxy.config.last_good import last_good
from proxy.config.loader import read_settings
from proxy.config.settings import Settings
from proxy.errors import ProxyError, RolloutError, SettingsError, SwitchError
from proxy.rollout.admin_client import AdminClient, AdminResponse, endpoints_of

if TYPE_CHECKING:
    from proxy.rollout.control import ChangeRequest, Control


DISK_S: Final = 0.3
DATABASE_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Subcommand:
    """A subcommand, as `proxy.cli.main` runs it."""

    configure: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def _configure(parser: argparse.ArgumentParser) -> None:
    add_config_option(parser)
    parser.add_argument("--reason", default="", help="reason for the audit log")
    parser.add_argument(
        "--actor",
        default="",
        help="name for the audit log; default: the login name; the name in a JWT takes precedence",
    )
    parser.add_argument("--group", default="", help="one route group instead of all")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def _configure_promote(parser: argparse.ArgumentParser) -> None:
    _configure(parser)
    parser.add_argument("--force", action="store_true", help="promote through closed gates; the audit log records it")
    parser.add_argument(
        "--from", dest="from_step", type=int, metavar="STEP", help="promote only if it is at this step (0 is the first)"
    )


def _configure_rollback(parser: argparse.ArgumentParser) -> None:
    _configure(parser)
    parser.add_argument("--dry-run", action="store_true", help="change nothing; print what a rollback would affect")


def _body_of(args: argparse.Namespace) -> dict[str, Any]:
    """Return the body of the POST. Its id makes the change one entry of the audit log, however many proxies get it."""
    return {
        "actor": _text(args.actor or getpass.getuser()),
        "reason": _text(args.reason),
        "group": args.group,
        "force": getattr(args, "force", False),
        "id": str(uuid.uuid4()),
    }


def _text(argument: str) -> str:
    """Return an argument as text that can be sent and stored, whatever bytes the shell has passed."""
    return argument.encode(errors="replace").decode()


# Promote, pause and resume.


def _promote(args: argparse.Namespace) -> int:
    client = AdminClient.of(read_settings(args.config), os.environ)
    response = client.change("/promote", _body_of(args), from_step=args.from_step)
    return _report("promote", response, as_json=args.json)


def _pause(args: argparse.Namespace) -> int:
    client = AdminClient.of(read_settings(args.config), os.environ)
    return _report("pause", client.change("/pause", _body_of(args)), as_json=args.json)


def _resume(args: argparse.Namespace) -> int:
    settings, body = read_settings(args.config), _body_of(args)
    age_s = process_age_s() if args.is_process else 0.0
    response = AdminClient.of(settings, os.environ).change("/resume", body, age_s=age_s)
    # A proxy that is running and silent may be serving: its rollback is not ended behind its back.
    if response.status is None and response.down:
        response = asyncio.run(_resume_here(settings, body, decided_at=time.time() - age_s))
    code = _report("resume", response, as_json=args.json)
    if code == Exit.DONE and not args.json and not settings.rollout.enabled:
        serve = settings.serve
        print_line(f"rollout.enabled is false: {serve.side} serves {serve.percent:g} % again, by section serve")
    return code


def process_age_s() -> float:
    """Return the seconds since this process was started, also those in which it was stopped; 0 where the system does not tell.

    The command may be stopped, or wait for the machine, before its first line runs; its operator pressed the key before that.
    """
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        started_s = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started_s)
    except (OSError, ValueError, IndexError, AttributeError):
        return 0.0


async def _resume_here(settings: Settings, body: Mapping[str, Any], *, decided_at: float) -> AdminResponse:
    """Resume in this machine's files and in the database, since no proxy is running."""
    control = _control_here(settings)
    try:
        async with control.replica.session():
            await control.resume(replace(_request_of(body), decided_at=decided_at))
    except (RolloutError, SwitchError) as error:
        return AdminResponse(None, 409, error=str(error))
    groups = [
        {"group": state.group, "phase": state.phase.value, "step": state.step}
        for state in control.replica.configured.values()
    ]
    return AdminResponse(None, 200, {"rolled_back": control.switch.rolled_back, "groups": groups})


def _control_here(settings: Settings) -> "Control":
    """Open the control over this machine's files."""
    from proxy.rollout.control import open_control

    control = open_control(settings.serve, settings.rollout, settings.databases.store)
    control.start()
    return control


def _request_of(body: Mapping[str, Any]) -> "ChangeRequest":
    from proxy.rollout.control import ChangeRequest

    return ChangeRequest(body["actor"], body["reason"], group=body["group"], id=body["id"])


def _report(command: str, response: AdminResponse, *, as_json: bool) -> int:
    """Print the response; NEGATIVE when the change was refused, UNAVAILABLE when no proxy responded."""
    if as_json:
        print_line(json.dumps({"ok": response.ok, "error": response.error, **response.document}))
    elif response.ok:
        groups = response.document.get("groups", ())
        lines = [f"{group['group']}: {group['phase']}, step {group['step']}" for group in groups]
        print_line("\n".join(lines) or "done")
    else:
        problem = "no proxy answered" if response.status is None else "refused"
        print_error(command, f"{problem}: {response.error}")
    if response.ok:
        return Exit.DONE
    return Exit.UNAVAILABLE if response.status is None else Exit.NEGATIVE


# Rollback.


def _rollback(args: argparse.Namespace) -> int:
    """Roll back; NEGATIVE when a proxy may still serve from the candidate."""
    if args.dry_run:
        return _dry_run(read_settings(args.config), as_json=args.json)
    settings = _settings_for_rollback(args.config)
    body = _body_of(args)
    client = AdminClient.of(settings, os.environ, break_glass=True)
    control: Control | None = None
    with client.broadcast("POST", "/rollback", body) as broadcast:
        # While the requests are on their way, the same change is made in the files of this machine.
        if _disk_answers(Path(settings.serve.state_file)):
            control = _control_here(settings)
            control.rollback(_request_of(body))
        for response in broadcast.arriving():
            if not args.json:
                print_line(_line(response), flush=True)
        responses = broadcast.responses()
    if control is not None and settings.databases.store and not any(response.ok for response in responses):
        _store_in_database(control)
    stored = control is not None and (control.replica.saved if body["group"] else control.switch.stored)
    done = _is_done(responses, stored=stored)
    if args.json:
        print_line(json.dumps(_document(responses, stored=stored, done=done)))
    else:
        print_line(f"stored in {settings.serve.state_file}" if stored else f"NOT STORED in {settings.serve.state_file}")
        print_line("rolled back" if done else "NOT ROLLED BACK everywhere: see above")
    if done:
        return Exit.DONE
    print_remark(_other_ways(settings))
    return Exit.NEGATIVE


def _settings_for_rollback(config: Path) -> Settings:
    """Read the configuration; if that is not possible, go on with the last good one, else with the defaults."""
    try:
        return read_settings(config)
    except SettingsError as error:
        print_error("rollback", error)
    found = last_good(config)
    if found is None:
        print_remark("no last good configuration was kept either: going on with the default ports and files")
        return Settings()
    settings, path = found
    print_remark(f"going on with the last good configuration, {path}")
    return settings


def _disk_answers(state_file: Path) -> bool:
    """Return whether the disk of the state file can be written to, by a process that may hang in this one's place.

    A write to a frozen file system cannot be interrupted: this command would not end before the thaw. The probe makes a file, since one
    that exists can be opened on a frozen file system.
    """
    probed = state_file.with_name(f".{state_file.name}.{os.getpid()}.probe")
    words = ["/bin/sh", "-c", 'mkdir -p "$1" && : > "$2" && rm -f "$2"', "sh", str(state_file.parent), str(probed)]
    try:
        probe = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        probe.wait(DISK_S)
    except subprocess.TimeoutExpired:
        print_remark(f"the disk of {state_file} does not answer: the rollback is not written there")
        return False
    except OSError:
        return True
    return True


def _store_in_database(control: "Control") -> None:
    """Store the rollback in the database, since no proxy took it: those that cannot be reached from here may still read it."""

    async def synchronize() -> None:
        async with asyncio.timeout(DATABASE_S), control.replica.session():
            pass

    try:
        asyncio.run(synchronize())
    except TimeoutError:
        print_error("rollback", f"the database has not answered for {DATABASE_S:g} s")
    except ProxyError as error:
        print_error("rollback", error)


def _other_ways(settings: Settings) -> str:
    """Name the other ways to roll back, each of which is enough."""
    lines = ["each of these alone rolls back, too:"]
    lines.append(f"  touch {settings.serve.sentinel_file}   (on the machine of each proxy)")
    lines.append("  kill -USR2 PID   (of `shadow proxy`, on the machine of each proxy)")
    endpoints = endpoints_of(settings.admin, settings.listen.workers, settings.rollout.peers)
    lines += [
        f"  curl -X POST {endpoint.url}/rollback -H 'Content-Type: application/json' -H \"Authorization: Bearer $SHADOW_TOKEN\""
        for endpoint in endpoints
    ]
    return "\n".join(lines)


def _is_done(responses: Sequence[AdminResponse], *, stored: bool) -> bool:
    took_it = any(response.ok for response in responses)
    return all(response.ok or response.down for response in responses) and (took_it or stored)


def _document(responses: Sequence[AdminResponse], *, stored: bool, done: bool) -> dict[str, Any]:
    proxies = [
        {
            "proxy": str(response.endpoint),
            "rolled_back": response.ok,
            "running": not response.down,
            "error": response.error,
        }
        for response in responses
    ]
    return {"rolled_back": done, "stored": stored, "proxies": proxies}


def _line(response: AdminResponse) -> str:
    if response.ok:
        return f"{response.endpoint}  serves from the legacy"
    if response.down:
        return f"{response.endpoint}  is not running"
    return f"{response.endpoint}  NOT REACHED: {response.error}; it learns of the rollback when it is back"


def _dry_run(settings: Settings, *, as_json: bool) -> int:
    import msgspec

    from proxy.rollout.rollback_impact import RollbackImpact, render
    from proxy.rollout.rollback_impact_collector import ImpactSources, collect_impact

    response = AdminClient.of(settings, os.environ).first_answer("GET", "/rollout/rollback-impact")
    if response.ok:
        impact = msgspec.convert(response.document, RollbackImpact)
    else:
        impact = asyncio.run(collect_impact(ImpactSources.of(settings)))
    print_line(msgspec.json.encode(impact).decode() if as_json else render(impact))
    return Exit.DONE


PROMOTE = Subcommand(_configure_promote, _promote)
PAUSE = Subcommand(_configure, _pause)
RESUME = Subcommand(_configure, _resume)
ROLLBACK = Subcommand(_configure_rollback, _rollback)
