"""Exchange states with the other proxies, so that a rollback reaches all of them while the database is down.

Each peer is requested every `poll_s`, and at once after a change here. Its newer states are merged here, and it is sent the rollbacks
that it lacks. Each peer has a task of its own, so one that hangs delays no other.
"""

import asyncio
import logging
from typing import Final

import aiohttp
import msgspec

from proxy.config.rollout import PeerAddress
from proxy.rollout.group_state import GroupState, States, newer_states
from proxy.rollout.replica import Replica

logger = logging.getLogger(__name__)

TIMEOUT: Final = aiohttp.ClientTimeout(total=2.0)
PATH: Final = "/rollout/state"
JSON: Final = {"Content-Type": "application/json"}


class PeerStates(msgspec.Struct, frozen=True):
    """The document that proxies exchange."""

    states: tuple[GroupState, ...]


class PeerSync:
    """The other proxies of an installation.

    Args:
        peers: their admin ports.
        replica: this process's states.
        token: the bearer token; a break-glass token suffices, as only rollbacks are sent.
        scheme: of the admin ports, `http` or `https`.
    """

    def __init__(self, peers: tuple[PeerAddress, ...], replica: Replica, *, token: str, scheme: str = "http") -> None:
        self._urls = [f"{scheme}://{peer.host}:{peer.port}{PATH}" for peer in peers]
        self._replica = replica
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._wakes = [asyncio.Event() for _ in peers]

    def wake(self) -> None:
        """Exchange at once, because something changed here."""
        for event in self._wakes:
            event.set()

    async def run(self) -> None:
        """Exchange until cancelled."""
        async with (
            aiohttp.ClientSession(timeout=TIMEOUT, headers=self._headers) as session,
            asyncio.TaskGroup() as group,
        ):
            for url, wake in zip(self._urls, self._wakes, strict=True):
                group.create_task(self._follow(session, url, wake), name=f"peer-{url}")

    async def exchange_once(self) -> None:
        """Exchange once with every peer; those that do not answer are left out."""
        async with aiohttp.ClientSession(timeout=TIMEOUT, headers=self._headers) as session:
            results = await asyncio.gather(
                *(self._exchange(session, url) for url in self._urls), return_exceptions=True
            )
        for url, error in zip(self._urls, results, strict=True):
            if isinstance(error, BaseException):
                logger.info("peer_unreachable", extra={"url": url, "error": f"{type(error).__name__}: {error}"})

    async def _follow(self, session: aiohttp.ClientSession, url: str, wake: asyncio.Event) -> None:
        reached = True
        while True:
            wake.clear()
            try:
                await self._exchange(session, url)
                reached = True
            except (aiohttp.ClientError, TimeoutError, OSError, msgspec.MsgspecError, RecursionError) as error:
                if reached:
                    logger.warning("peer_unreachable", extra={"url": url, "error": f"{type(error).__name__}: {error}"})
                reached = False
            try:
                async with asyncio.timeout(self._replica.settings.poll_s):
                    await wake.wait()
            except TimeoutError:
                continue

    async def _exchange(self, session: aiohttp.ClientSession, url: str) -> None:
        async with session.get(url) as response:
            response.raise_for_status()
            received = msgspec.json.decode(await response.read(), type=PeerStates)
        peer_states = {state.group: state for state in received.states}
        if newer_states(self._replica.states, peer_states):
            self._replica.apply(peer_states)
        missing = rollbacks(newer_states(peer_states, self._replica.states))
        if missing:
            body = msgspec.json.encode(PeerStates(tuple(missing.values())))
            async with session.post(url, data=body, headers=JSON) as response:
                response.raise_for_status()


def rollbacks(states: States) -> dict[str, GroupState]:
    """Select the states that are rolled back: all that a proxy accepts from a sender without further permissions."""
    return {name: state for name, state in states.items() if state.phase.latched}
