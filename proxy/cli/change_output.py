"""What the commands print about a change that a proxy made or refused."""

import json
import sys

from proxy.cli.exit_codes import Exit
from proxy.rollout.admin_client import Answer


def report(answer: Answer, *, as_json: bool) -> int:
    """Print the answer; NO when it was refused, AWAY when none came."""
    if as_json:
        print(json.dumps({"ok": answer.ok, "error": answer.error, **answer.document}))  # noqa: T201 (a command's answer)
    elif answer.ok:
        print(render(answer))  # noqa: T201 (a command's answer)
    else:
        print(f"refused: {answer.error}" if answer.status else f"no proxy answered: {answer.error}", file=sys.stderr)  # noqa: T201 (a command's answer)
    if answer.ok:
        return Exit.DONE
    return Exit.NO if answer.status else Exit.AWAY


def render(answer: Answer) -> str:
    """Where each group stands."""
    lines = [f"{one['group']}: {one['phase']}, step {one['step']}" for one in answer.document.get("groups", ())]
    return "\n".join(lines) or "done"
