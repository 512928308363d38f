"""Exchanges states with the other proxies, so that a rollback reaches all of them with the database down.

Each peer is asked now and then, and at once after a change here, what it knows; what is news there is taken here, and a rollback
that it has not heard of is sent. One task a peer: one that hangs holds up nobody else.
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


class PeerStates(msgspec.Struct, frozen=True):
    """What one proxy tells another."""

    states: tuple[GroupState, ...]


class PeerSync:
    """The other proxies of this one.

    Args:
        peers: their admin ports.
        replica: this process's states.
        token: sent along; a break-glass token suffices, as only rollbacks are sent.
        scheme: of the admin ports.
    """

    def __init__(self, peers: tuple[PeerAddress, ...], replica: Replica, *, token: str, scheme: str = "http") -> None:
        self._urls = [f"{scheme}://{peer.host}:{peer.port}{PATH}" for peer in peers]
        self._replica = replica
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._wakes = [asyncio.Event() for _ in peers]

    def wake(self) -> None:
        """Something changed here: exchange at once."""
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
            found = await asyncio.gather(*(self._exchange(session, url) for url in self._urls), return_exceptions=True)
        for url, error in zip(self._urls, found, strict=True):
            if isinstance(error, BaseException):
                logger.info("peer_away", extra={"url": url, "error": f"{type(error).__name__}: {error}"})

    async def _follow(self, session: aiohttp.ClientSession, url: str, wake: asyncio.Event) -> None:
        reached = True
        while True:
            wake.clear()
            try:
                await self._exchange(session, url)
                reached = True
            except (aiohttp.ClientError, TimeoutError, OSError, msgspec.MsgspecError) as error:
                if reached:
                    logger.warning("peer_away", extra={"url": url, "error": f"{type(error).__name__}: {error}"})
                reached = False
            try:
                async with asyncio.timeout(self._replica.settings.poll_s):
                    await wake.wait()
            except TimeoutError:
                continue

    async def _exchange(self, session: aiohttp.ClientSession, url: str) -> None:
        async with session.get(url) as response:
            response.raise_for_status()
            found = msgspec.json.decode(await response.read(), type=PeerStates)
        theirs = {state.group: state for state in found.states}
        if newer_states(self._replica.states, theirs):
            self._replica.apply(theirs)
        unheard = rollbacks(newer_states(theirs, self._replica.states))
        if unheard:
            body = msgspec.json.encode(PeerStates(tuple(unheard.values())))
            async with session.post(url, data=body) as response:
                response.raise_for_status()


def rollbacks(states: States) -> dict[str, GroupState]:
    """Those that say that the legacy serves: all that a proxy takes from whoever sends it."""
    return {name: state for name, state in states.items() if state.phase.latched}
