"""Read the parts of an installation: every proxy, the runner, the store, the legacy's health; each on its own and in a limited time.

A part that does not answer is a value that says why, never an exception: the pages show what the others say.
"""

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Generic, TypeVar

import aiohttp

from comparator.errors import StoreError
from comparator.postgres import Connection
from comparator.store import causes, ended, series
from comparator.store.ended import EndedTotal
from comparator.store.reader import StoreReader
from proxy.config.settings import Settings
from proxy.errors import ProxyError
from proxy.journal.reconciliation import WriterAccount
from proxy.journal.registry import journal_exists
from proxy.rollout.admin_client import AdminClient, AdminEndpoint, AdminResponse, endpoints_of
from proxy.rollout.rollback_impact import RollbackImpact
from proxy.rollout.rollback_impact_collector import ImpactSources, collect_impact
from proxy.runner.accountant import RUNNER_TIMEOUT_S, account, runner_document, runner_state

T = TypeVar("T")
PART_TIMEOUT_S: Final = 2.5
NEWEST_WITHIN: Final = dt.timedelta(days=1)


# (without slots: a frozen class with slots cannot be called by its subscripted name, `PartAnswer[int]()`, in Python 3.11)
@dataclass(frozen=True)
class PartAnswer(Generic[T]):
    """The answer of one part, or why there is none.

    Attributes:
        value: None where it did not answer.
        error: the reason; "" where it answered.
        took_s: time that the answer took.
    """

    value: T | None = None
    error: str = ""
    took_s: float = 0.0


@dataclass(frozen=True, slots=True)
class ProxyPart:
    """One proxy process.

    Attributes:
        name: its name on the screens: `proxy-1`, in the order of the endpoints.
        address: host and port of its admin port.
        status: the document of GET /status; None where it does not answer.
        error: why it does not answer, "" if it does.
        took_s: time that the answer took.
    """

    name: str
    address: str
    status: Mapping[str, Any] | None = None
    error: str = ""
    took_s: float = 0.0


@dataclass(frozen=True, slots=True)
class StorePart:
    """The store: when its newest comparison was served, and how many causes there are in each state."""

    newest: dt.datetime | None = None
    causes: Mapping[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, slots=True)
class Parts:
    """All parts of an installation at one moment."""

    at: dt.datetime
    proxies: tuple[ProxyPart, ...]
    runner: PartAnswer[Mapping[str, Any]]
    store: PartAnswer[StorePart]


@dataclass(frozen=True, slots=True)
class ExchangeAccounts:
    """Every exchange by number: the account of each writer, and the outcomes of those that ended."""

    writers: tuple[WriterAccount, ...]
    ended: tuple[EndedTotal, ...]


async def asked(request: Callable[[], Awaitable[T]], timeout_s: float = PART_TIMEOUT_S) -> PartAnswer[T]:
    """Return what a part answers within a time, or why it does not."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        async with asyncio.timeout(timeout_s):
            value = await request()
    except TimeoutError:
        return PartAnswer(error=f"no answer within {timeout_s:g} s", took_s=timeout_s)
    except (OSError, aiohttp.ClientError, StoreError, ProxyError, ValueError) as error:
        return PartAnswer(error=str(error) or type(error).__name__, took_s=loop.time() - began)
    return PartAnswer(value, took_s=loop.time() - began)


def name_of(endpoint: AdminEndpoint | None, endpoints: tuple[AdminEndpoint, ...]) -> str:
    """Return the name of a proxy on the screens: `proxy-1`."""
    return f"proxy-{endpoints.index(endpoint) + 1}" if endpoint in endpoints else "proxy"


class InstallationReader:
    """Reads the parts of one installation.

    Args:
        settings: config.yaml.
        store: reads the store.
        session: an HTTP client.
        environ: for the journal's key.
    """

    def __init__(
        self, settings: Settings, store: StoreReader, session: aiohttp.ClientSession, environ: Mapping[str, str]
    ) -> None:
        self.settings = settings
        self.environ = environ
        self.store = store
        self.endpoints = endpoints_of(settings.admin, settings.listen.workers, settings.rollout.peers)
        self._session = session
        self._token = settings.admin.token

    def read_with(self, token: str) -> None:
        """Use a person's token for reading where config.yaml has none: a person who is signed in may read."""
        if not self.settings.admin.token:
            self._token = token

    def client(self, token: str) -> AdminClient:
        """Return the client of the admin ports that carries a person's token."""
        return AdminClient(self.endpoints, token)

    async def parts(self) -> Parts:
        """Ask all parts at the same time."""
        proxies, runner, store = await asyncio.gather(self._proxies(), asked(self._runner), asked(self._store))
        return Parts(dt.datetime.now(dt.UTC), proxies, runner, store)

    async def _proxies(self) -> tuple[ProxyPart, ...]:
        responses = await asyncio.to_thread(broadcast, self.client(self._token), "GET", "/status")
        return tuple(
            ProxyPart(
                name_of(response.endpoint, self.endpoints),
                str(response.endpoint),
                response.document if response.ok else None,
                "" if response.ok else response.error or "no answer",
                response.took_s,
            )
            for response in responses
        )

    async def _runner(self) -> Mapping[str, Any]:
        """Return the document of the runner; with slices that of the one furthest behind.

        Raises:
            ConnectionError: the runner of a slice does not answer, while others may.
        """
        runner = self.settings.runner
        answers = await asyncio.gather(
            *(asked(partial(runner_document, self._session, url), RUNNER_TIMEOUT_S * 2) for url in runner.urls)
        )
        documents = [answer.value for answer in answers if answer.value is not None]
        if len(documents) < len(answers):
            names = [f"slice {one.name}: " for one in runner.slices] or [""]
            away = [f"{name}{one.error}" for name, one in zip(names, answers, strict=True) if one.value is None]
            raise ConnectionError(", ".join(away))
        return max(documents, key=lambda document: document.get("lag_s") or 0.0)

    async def _store(self) -> StorePart:
        async with self.store.connection() as conn:
            newest = await series.newest_comparison(conn, since=dt.datetime.now(dt.UTC) - NEWEST_WITHIN)
            return StorePart(newest, await causes.causes_by_state(conn))

    @property
    def runner_url(self) -> str:
        """The base URL of the runner's admin port; with slices that of the first."""
        return self.settings.runner.urls[0]

    async def impact(self) -> RollbackImpact:
        """Determine what a rollback would cost."""
        return await collect_impact(ImpactSources.of(self.settings))

    async def accounts(self) -> ExchangeAccounts:
        """Account for every exchange by its number.

        Raises:
            StoreUnavailableError: the store alone knows what has ended.
            ProxyError: the journal is not on this machine, or it cannot be read.
        """
        if not journal_exists(self.settings.journal):
            raise ProxyError(f"there is no journal in {self.settings.journal.directory} on this machine")
        async with self.store.connection() as conn:
            state = await runner_state(self._session, conn, self.settings)
            writers = await account(conn, state, self.settings)
            return ExchangeAccounts(writers, await self._ended(conn))

    async def _ended(self, conn: Connection) -> tuple[EndedTotal, ...]:
        return await ended.ended_totals(conn, *self.settings.runner.readers)


def broadcast(
    client: AdminClient, method: str, path: str, body: Mapping[str, Any] | None = None
) -> list[AdminResponse]:
    """Send a request to all proxies at once and wait for their responses. Blocks."""
    with client.broadcast(method, path, body) as requests:
        return requests.responses()
