"""`shadow resume`: end a pause or a rollback. After a rollback the rollout begins anew at its first step."""

import argparse
import asyncio

from proxy.cli.change_output import report
from proxy.config.loader import read_settings
from proxy.config.settings import Settings
from proxy.errors import RolloutError, SwitchError
from proxy.rollout.admin_client import AdminEndpoint, AdminResponse, add_arguments, change_of, first_answer
from proxy.rollout.control import ChangeRequest
from proxy.rollout.offline import connected_control


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Resume through a running proxy, else in this machine's files and the database; NO when it was refused."""
    settings = read_settings(args.config)
    change = change_of(args)
    answer = first_answer(settings, "POST", "/resume", change)
    if not answer.status:
        answer = asyncio.run(
            _offline(settings, ChangeRequest(change["actor"], change["reason"], change["group"], id=change["id"]))
        )
    code = report(answer, as_json=args.json)
    if not code and not args.json and not settings.rollout.enabled:
        serve = settings.serve
        print(f"rollout.enabled is false: {serve.side} serves {serve.percent:g} % again, by section serve")  # noqa: T201 (a command's answer)
    return code


async def _offline(settings: Settings, asked: ChangeRequest) -> AdminResponse:
    target = AdminEndpoint("state", 0)
    try:
        async with connected_control(settings) as control:
            await control.resume(asked)
            own = control.replica.own.values()
            groups = [{"group": one.group, "phase": one.phase.value, "step": one.step} for one in own]
            return AdminResponse(target, 200, {"rolled_back": control.switch.rolled_back, "groups": groups})
    except (RolloutError, SwitchError) as error:
        return AdminResponse(target, 409, {}, str(error))
