"""Asks running proxies on their admin ports, several at a time, for the commands."""

import argparse
import getpass
import http.client
import json
import os
import ssl
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self, cast

from proxy.config.settings import Settings

TIMEOUT_S: Final = 2.0
TOKEN_VARIABLE: Final = "SHADOW_TOKEN"  # noqa: S105 (the name of a variable)


@dataclass(frozen=True, slots=True)
class AdminEndpoint:
    """An admin port."""

    host: str
    port: int
    tls: bool = False

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class AdminResponse:
    """What a proxy said. `status` is 0 when it said nothing; `down`: nobody listens there."""

    target: AdminEndpoint
    status: int
    document: Mapping[str, Any]
    error: str = ""
    down: bool = False

    @property
    def ok(self) -> bool:
        """Whether it did what was asked."""
        return 200 <= self.status < 300


def add_arguments(parser: argparse.ArgumentParser, *, group: bool = True) -> None:
    """The arguments that all changes have."""
    parser.add_argument("--config", type=Path, default=Path("config.yaml"), help="default: %(default)s")
    parser.add_argument("--reason", default="", help="kept in the audit log")
    parser.add_argument("--actor", default="", help="who does it; default: the login name; a JWT's own name wins")
    parser.add_argument("--json", action="store_true", help="answer with one JSON document")
    if group:
        parser.add_argument("--group", default="", help="one route group instead of all")


def change_of(args: argparse.Namespace) -> dict[str, Any]:
    """The body of a POST. Its id makes it one entry of the audit log, however many proxies get it."""
    return {
        "actor": args.actor or getpass.getuser(),
        "reason": args.reason,
        "group": getattr(args, "group", ""),
        "force": getattr(args, "force", False),
        "id": str(uuid.uuid4()),
    }


def own_targets(settings: Settings) -> tuple[AdminEndpoint, ...]:
    """The processes of this installation."""
    admin = settings.admin
    return tuple(
        AdminEndpoint(admin.host, admin.port + number, admin.tls is not None)
        for number in range(settings.listen.workers)
    )


def all_targets(settings: Settings) -> tuple[AdminEndpoint, ...]:
    """The processes of this installation, and its peers."""
    tls = settings.admin.tls is not None
    peers = (AdminEndpoint(peer.host, peer.port, tls) for peer in settings.rollout.peers)
    return tuple(dict.fromkeys((*own_targets(settings), *peers)))


def token_of(settings: Settings, *, rollback: bool = False) -> str:
    """The bearer token: SHADOW_TOKEN, else the admin token, else for a rollback the break-glass token."""
    glass = settings.rollout.access.break_glass_token if rollback else ""
    return os.environ.get(TOKEN_VARIABLE, "") or settings.admin.token or glass


def request(
    target: AdminEndpoint, method: str, path: str, *, body: Mapping[str, Any] | None = None, token: str = ""
) -> AdminResponse:
    """One request; whatever goes wrong is in the answer."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    connection = _connection(target)
    try:
        connection.request(method, path, body=None if body is None else json.dumps(body).encode(), headers=headers)
        response = connection.getresponse()
        text, status = response.read().decode(errors="replace"), response.status
    except ConnectionRefusedError:
        return AdminResponse(target, 0, {}, "nobody listens there", down=True)
    except (OSError, http.client.HTTPException) as error:
        return AdminResponse(target, 0, {}, str(error) or type(error).__name__)
    finally:
        connection.close()
    try:
        document: Any = json.loads(text)
    except ValueError:
        document = {"detail": text.strip()}
    found = cast("dict[str, Any]", document) if isinstance(document, dict) else {}
    return AdminResponse(target, status, found, "" if status < 400 else str(found.get("detail", status)))


def _connection(target: AdminEndpoint) -> http.client.HTTPConnection:
    if not target.tls:
        return http.client.HTTPConnection(target.host, target.port, timeout=TIMEOUT_S)
    return http.client.HTTPSConnection(
        target.host, target.port, timeout=TIMEOUT_S, context=ssl.create_default_context()
    )


class Broadcast:
    """The same request to several proxies at once; use as a context manager, `answers` waits for all."""

    def __init__(
        self, targets: Sequence[AdminEndpoint], method: str, path: str, *, body: Mapping[str, Any], token: str
    ) -> None:
        self._executor = ThreadPoolExecutor(max(1, len(targets)))
        self._futures: list[Future[AdminResponse]] = [
            self._executor.submit(request, target, method, path, body=body, token=token) for target in targets
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)

    def answers(self) -> list[AdminResponse]:
        """Every proxy's answer."""
        return [future.result() for future in self._futures]


def first_answer(settings: Settings, method: str, path: str, body: Mapping[str, Any] | None = None) -> AdminResponse:
    """The answer of the first proxy that gives one, asked one after another; else the last failure."""
    answer = AdminResponse(AdminEndpoint("", 0), 0, {}, "no admin port is configured", down=True)
    for target in all_targets(settings):
        answer = request(target, method, path, body=body, token=token_of(settings))
        if answer.status:
            return answer
    return answer
