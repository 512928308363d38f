"""Talks to the admin port of a running proxy, for the commands."""

import http.client
import json
from typing import Any

from proxy.errors import AdminRefusedError, AdminUnreachableError
from proxy.settings import Admin

TIMEOUT_S = 3.0


def post(settings: Admin, path: str, *, actor: str, reason: str) -> dict[str, Any]:
    """Change the switch.

    Raises:
        AdminUnreachableError: nobody answered.
        AdminRefusedError: the proxy said no, and why.
    """
    return _ask(settings, "POST", path, json.dumps({"actor": actor, "reason": reason}).encode())


def get(settings: Admin, path: str) -> dict[str, Any]:
    """Read a JSON page.

    Raises:
        AdminUnreachableError: nobody answered.
        AdminRefusedError: the proxy said no, and why.
    """
    return _ask(settings, "GET", path, None)


def _ask(settings: Admin, method: str, path: str, body: bytes | None) -> dict[str, Any]:
    headers = {"Content-Type": "application/json"}
    if settings.token:
        headers["Authorization"] = f"Bearer {settings.token}"
    connection = http.client.HTTPConnection(settings.host, settings.port, timeout=TIMEOUT_S)
    try:
        connection.request(method, path, body=body, headers=headers)
        reply = connection.getresponse()
        text = reply.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        raise AdminUnreachableError(f"{settings.host}:{settings.port}: {error}") from error
    finally:
        connection.close()
    try:
        document: dict[str, Any] = json.loads(text)
    except ValueError:
        document = {"detail": text}
    if reply.status >= 400:
        raise AdminRefusedError(str(document.get("detail", reply.status)))
    return document
