"""Promote a running installation, as an operator who looks again when another change came first."""

import asyncio
from http import HTTPStatus

from proxy.config.loader import read_settings
from proxy.demo.installation import Installation
from proxy.rollout.admin_client import AdminClient


async def promote_by_force(system: Installation, reason: str, *, actor: str = "test") -> None:
    """Go one step ahead through closed gates; again where the controller has changed something meanwhile, as it does when it starts."""
    client = AdminClient.of(read_settings(system.config_path), {})
    body = {"actor": actor, "reason": reason, "group": "", "force": True, "id": ""}
    while (
        response := await asyncio.to_thread(client.change, "/promote", body)
    ).status == HTTPStatus.PRECONDITION_FAILED:
        pass
    assert response.ok, response.error
