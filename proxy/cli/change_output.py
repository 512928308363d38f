"""What the commands print about a change that a proxy made or refused."""

import json
import sys

from proxy.cli.exit_codes import Exit
from proxy.rollout.admin_client import AdminResponse


def report(answer: AdminResponse, *, as_json: bool) -> int:
    """Print the answer; NO when it was refused, AWAY when none came."""
    if as_json:
        print(json.dumps({"ok": answer.ok, "error": answer.error, **answer.document}))  # noqa: T201 (a command's answer)
    elif answer.ok:
        print(render(answer))  # noqa: T201 (a command's answer)
    else:
        print(f"refused: {answer.error}" if answer.status else f"no proxy answered: {answer.error}", file=sys.stderr)  # noqa: T201 (a command's answer)
    if answer.ok:
        return Exit.DONE
    return Exit.NEGATIVE if answer.status else Exit.UNAVAILABLE


def render(answer: AdminResponse) -> str:
    """Where each group stands."""
    lines = [f"{one['group']}: {one['phase']}, step {one['step']}" for one in answer.document.get("groups", ())]
    return "\n".join(lines) or "done"
