"""Send requests to the admin ports of running proxies, to all at once or one after another, for the commands.

This module imports the standard library and the settings only: a rollback is on its way before the rest of the program is loaded.
"""

import http.client
import json
import ssl
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, cast

from proxy.config.listen import AdminSettings
from proxy.config.rollout import PeerAddress
from proxy.config.settings import Settings

TIMEOUT_S: Final = 2.0
CHANGE_TIMEOUT_S: Final = 15.0
"""Time for a change: for a promotion all evidence is read."""
TOKEN_VARIABLE: Final = "SHADOW_TOKEN"  # noqa: S105 (the name of a variable)


@dataclass(frozen=True, slots=True)
class AdminEndpoint:
    """The admin port of one proxy process."""

    host: str
    port: int
    tls: bool = False

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http{'s' if self.tls else ''}://{self}"

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class AdminResponse:
    """The response of a proxy, or the reason why there is none.

    Attributes:
        endpoint: the admin port; None when no admin port is configured.
        status: the status; None when no response came.
        document: the JSON body.
        error: the reason of a refusal or of a failure; None when the request succeeded.
        down: no process listens on the port.
        took_s: time from the request to the response.
    """

    endpoint: AdminEndpoint | None
    status: int | None = None
    document: Mapping[str, Any] = field(default_factory=dict[str, Any])
    error: str | None = None
    down: bool = False
    took_s: float = 0.0

    @property
    def ok(self) -> bool:
        """True when the proxy did what was requested."""
        return self.status is not None and 200 <= self.status < 300


class Broadcast:
    """Requests on their way to several proxies."""

    def __init__(self, futures: Sequence[Future[AdminResponse]]) -> None:
        self._futures = futures

    def arriving(self) -> Iterator[AdminResponse]:
        """Yield the responses as they come: a proxy that hangs does not delay what is known of the others."""
        for future in as_completed(self._futures):
            yield future.result()

    def responses(self) -> list[AdminResponse]:
        """Wait for the responses of all proxies, in the order of the endpoints."""
        return [future.result() for future in self._futures]


class AdminClient:
    """The admin ports of an installation and of its peers.

    Args:
        endpoints: the admin ports.
        token: the bearer token; "" sends none.
    """

    def __init__(self, endpoints: Sequence[AdminEndpoint], token: str) -> None:
        self.endpoints = tuple(endpoints)
        self._token = token

    @classmethod
    def of(cls, settings: Settings, environ: Mapping[str, str], *, break_glass: bool = False) -> "AdminClient":
        """Create a client from config.yaml.

        The token is SHADOW_TOKEN, else `admin.token`, else with `break_glass` the break-glass token, which allows a rollback only.
        """
        token = environ.get(TOKEN_VARIABLE, "") or settings.admin.token
        if break_glass:
            token = token or settings.rollout.access.break_glass_token
        return cls(endpoints_of(settings.admin, settings.listen.workers, settings.rollout.peers), token)

    @contextmanager
    def broadcast(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Generator[Broadcast]:
        """Send one request to all proxies at once; inside the block other work may be done until the responses are needed."""
        executor = ThreadPoolExecutor(max(1, len(self.endpoints)))
        try:
            yield Broadcast([executor.submit(self._request, one, method, path, body) for one in self.endpoints])
        finally:
            executor.shutdown(wait=False, cancel_futures=True)

    def change(
        self, path: str, body: Mapping[str, Any], *, from_step: int | None = None, age_s: float = 0.0
    ) -> AdminResponse:
        """Look at the rollout at the first proxy that answers, and request a change of what is seen, there.

        The change names the state, and the time at which its response is no longer waited for: so a proxy that was stopped meanwhile does
        not execute it later, nor after another change.

        Args:
            path: of the change.
            body: of the request.
            from_step: the step that the operator has decided on; another one is refused.
            age_s: seconds since the operator decided, e.g. started the command. A resume does not end a rollback that came since.
        """
        seen = self.first_answer("GET", "/rollout")
        if seen.endpoint is None or not seen.ok:
            return seen
        now = float(seen.document.get("now", 0))
        # (in the proxy's time: this machine's clock may differ)
        named = dict(body) | {"expires_at": now + CHANGE_TIMEOUT_S, "decided_at": now - age_s}
        if from_step is not None:
            named["from_step"] = from_step
        revision = str(seen.document.get("revision", ""))
        return self._request(seen.endpoint, "POST", path, named, revision=revision, timeout_s=CHANGE_TIMEOUT_S)

    def first_answer(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> AdminResponse:
        """Send the request to one proxy after another until one responds; return its response, else a failure: `down` if all are down."""
        failure = AdminResponse(None, error="no admin port is configured", down=True)
        for endpoint in self.endpoints:
            response = self._request(endpoint, method, path, body)
            if response.status is not None:
                return response
            failure = response if failure.down else failure
        return failure

    def _request(
        self,
        endpoint: AdminEndpoint,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        *,
        revision: str = "",
        timeout_s: float = TIMEOUT_S,
    ) -> AdminResponse:
        headers: dict[str, str | bytes] = {"Content-Type": "application/json"}
        if self._token:
            # (bytes: http.client would refuse a text that is not latin-1)
            headers["Authorization"] = f"Bearer {self._token}".encode(errors="surrogateescape")
        if revision:
            headers["If-Match"] = f'"{revision}"'
        connection = _connection(endpoint, timeout_s)
        began = time.monotonic()
        try:
            connection.request(method, path, body=None if body is None else json.dumps(body).encode(), headers=headers)
            response = connection.getresponse()
            text, status = response.read().decode(errors="replace"), response.status
        except ConnectionRefusedError:
            return AdminResponse(endpoint, error="no process listens there", down=True)
        except (OSError, http.client.HTTPException, ValueError) as error:
            return AdminResponse(endpoint, error=str(error) or type(error).__name__)
        finally:
            connection.close()
        document, took_s = _document(text), time.monotonic() - began
        error = None if status < 400 else str(document.get("detail", status))
        return AdminResponse(endpoint, status, document, error, took_s=took_s)


def endpoints_of(admin: AdminSettings, workers: int, peers: Sequence[PeerAddress] = ()) -> tuple[AdminEndpoint, ...]:
    """List the admin ports of the processes of this installation, then those of its peers.

    Args:
        admin: section `admin:`.
        workers: `listen.workers`; the ports of the workers follow each other.
        peers: `rollout.peers`.
    """
    tls = admin.tls is not None
    own = (AdminEndpoint(admin.host, admin.port + number, tls) for number in range(workers))
    others = (AdminEndpoint(peer.host, peer.port, tls) for peer in peers)
    return tuple(dict.fromkeys((*own, *others)))


def _connection(endpoint: AdminEndpoint, timeout_s: float) -> http.client.HTTPConnection:
    if not endpoint.tls:
        return http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=timeout_s)
    return http.client.HTTPSConnection(
        endpoint.host, endpoint.port, timeout=timeout_s, context=ssl.create_default_context()
    )


def _document(text: str) -> dict[str, Any]:
    try:
        document: Any = json.loads(text)
    except ValueError:
        return {"detail": text.strip()}
    return cast("dict[str, Any]", document) if isinstance(document, dict) else {}
