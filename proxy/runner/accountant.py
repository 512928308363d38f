"""Reconcile writers, runner and store at an interval, and name exchanges that are missing."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from comparator.errors import StoreUnavailableError
from comparator.exchanges.number_ranges import EndedNumbers, NumberRanges
from comparator.postgres import Connection
from comparator.store.ended import ended_numbers
from comparator.store.journal_offsets import lease_state, load_offset
from comparator.store.store import Store
from proxy.config.journal import JournalDriver
from proxy.config.settings import Settings
from proxy.errors import BrokerUnavailableError
from proxy.journal.reconciliation import RunnerState, WriterAccount, WriterState, combined, reconcile
from proxy.journal.registry import committed_state, journal_exists, read_writer_states
from proxy.runner.metrics import RunnerMetrics

logger = logging.getLogger(__name__)

INTERVAL_S = 15.0
RUNNER_TIMEOUT_S = 0.5
"""Time after which a runner counts as one that does not run."""


@dataclass(slots=True)
class Accountant:
    """Accounts for every exchange by the number that its writer gave it.

    Attributes:
        store: where outcomes are saved.
        runner: name under which the runner reads the journal.
        writers: reads the state of every writer of the journal.
        read_state: returns what the runner has read, and what of it has no saved outcome.
        metrics: of the runner.
        readers: the names of the runners of all slices, whose leases are looked at; none without slices.
    """

    store: Store
    runner: str
    writers: Callable[[], Awaitable[Sequence[WriterState]]]
    read_state: Callable[[], RunnerState]
    metrics: RunnerMetrics
    readers: Sequence[str] = ()
    _reported: dict[str, str] = field(default_factory=dict[str, str])

    async def run(self) -> None:
        """Reconcile until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL_S)
            try:
                await self.reconcile()
            except (OSError, BrokerUnavailableError, StoreUnavailableError) as error:
                logger.warning("reconciliation_postponed", extra={"error": str(error)})

    async def reconcile(self) -> tuple[WriterAccount, ...]:
        """Reconcile once; set the gauges, and log what is newly missing.

        Raises:
            OSError: the journal cannot be read.
            BrokerUnavailableError: the broker of a shared journal does not answer.
            StoreUnavailableError: the store cannot be asked.
        """
        state = self.read_state()
        async with self.store.connection() as conn:
            ended = await ended_numbers(conn, self.runner)
            for reader in self.readers:
                lease = await lease_state(conn, reader)
                self.metrics.reader_away.labels(reader).set(not lease.held)
        accounts = reconcile(await self.writers(), state, ended)
        for account in accounts:
            self.metrics.missing.labels(account.writer).set(len(account.missing))
            self.metrics.unwritten.labels(account.writer).set(len(account.unwritten))
            self._report(account)
        return accounts

    def _report(self, account: WriterAccount) -> None:
        missing = str(account.missing)
        if missing and self._reported.get(account.writer) != missing:
            logger.error(
                "exchanges_missing",
                extra={"writer": account.writer, "count": len(account.missing), "numbers": missing[:500]},
            )
        self._reported[account.writer] = missing


async def read_accounts(session: aiohttp.ClientSession, settings: Settings) -> tuple[WriterAccount, ...] | None:
    """Reconcile writers, runners and store; None without a store, the only place that tells which exchanges ended.

    A runner that does not answer has read what it has committed: what is behind that offset is read again when it starts.
    """
    if not settings.databases.store or not journal_exists(settings.journal):
        return None
    async with (
        Store(settings.databases.store, settings.store, random.SystemRandom()) as store,
        store.connection() as conn,
    ):
        return await account(conn, await runner_state(session, conn, settings), settings)


async def runner_state(session: aiohttp.ClientSession, conn: Connection, settings: Settings) -> RunnerState:
    """Return what the runner has read, with slices what all have; of one that does not answer, what it has committed."""
    runner = settings.runner
    answers = await asyncio.gather(*(_answered_state(session, url) for url in runner.urls))
    return combined(
        [
            state if state is not None else await _committed_state(conn, reader, settings)
            for reader, state in zip(runner.readers, answers, strict=True)
        ]
    )


async def _committed_state(conn: Connection, reader: str, settings: Settings) -> RunnerState:
    if settings.journal.driver is JournalDriver.VALKEY:
        return RunnerState((await load_offset(conn, reader)).numbers, {})
    return await asyncio.to_thread(committed_state, settings.journal, reader)


async def account(conn: Connection, state: RunnerState, settings: Settings) -> tuple[WriterAccount, ...]:
    """Hold the writers of the journal and the outcomes in the store against what the runners had read before."""
    ended = await ended_numbers(conn, *settings.runner.readers)
    return reconcile(await read_writer_states(settings.journal), state, ended)


@dataclass(frozen=True, slots=True)
class SliceState:
    """The runner of one slice.

    Attributes:
        name: of the slice.
        holder: of the lease, or the last one; "" for none ever.
        works: whether a runner holds the lease.
        behind: exchanges in the spools that it is not done with, of which it mirrors its share; None where the journal does not answer.
    """

    name: str
    holder: str
    works: bool
    behind: int | None


async def read_slices(settings: Settings) -> tuple[SliceState, ...]:
    """Return the state of the runner of each slice, by its lease and by what it is done with; none without slices.

    Raises:
        StoreError: the store cannot be asked.
    """
    if not settings.runner.slices:
        return ()
    try:
        written = {state.writer: state.written for state in await read_writer_states(settings.journal)}
    except BrokerUnavailableError:
        written = None
    states: list[SliceState] = []
    async with (
        Store(settings.databases.store, settings.store, random.SystemRandom()) as store,
        store.connection() as conn,
    ):
        for one, reader in zip(settings.runner.slices, settings.runner.readers, strict=True):
            lease = await lease_state(conn, reader)
            ended = await ended_numbers(conn, reader)
            behind = (
                sum(
                    len(NumberRanges.of(1, last) - ended.get(name, EndedNumbers()).all)
                    for name, last in written.items()
                )
                if written is not None
                else None
            )
            states.append(SliceState(one.name, lease.holder, lease.held, behind))
    return tuple(states)


async def runner_document(session: aiohttp.ClientSession, runner_url: str) -> Mapping[str, Any]:
    """Return the runner's /status.

    Raises:
        aiohttp.ClientError, TimeoutError: it did not answer.
    """
    timeout = aiohttp.ClientTimeout(total=RUNNER_TIMEOUT_S)
    async with session.get(f"{runner_url}/status", timeout=timeout) as response:
        response.raise_for_status()
        return await response.json()


async def _answered_state(session: aiohttp.ClientSession, runner_url: str) -> RunnerState | None:
    """Return what a runner has read, None when it does not answer or waits for its lease."""
    try:
        document = await runner_document(session, runner_url)
    except (aiohttp.ClientError, TimeoutError):
        return None
    if "waits_for" in document:
        return None
    exchanges: Mapping[str, Any] | None = document.get("exchanges")
    if exchanges is None:
        raise ValueError("the runner is of a version that does not number exchanges: update it")
    ranges = {writer: NumberRanges((first, last) for first, last in own) for writer, own in exchanges["open"].items()}
    return RunnerState(exchanges["read"], ranges)
