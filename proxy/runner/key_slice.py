"""Divide the exchanges among the slices of several runners: each exchange has one owner, which mirrors it. Pure.

Every slice ranks each key by a hash of its own, and the highest rank has the key. So all runners agree without asking each other, and a
slice that is added only takes keys over; it moves none between the others:

    key 0xab..   a: 0x3f..   b: 0x91..              b has it
                 a: 0x3f..   b: 0x91..   c: 0xd0..  c has it, once there is a c

The key is the ordering key of the request; a request without one, which is compared by its response only, goes by its id. Exchanges that
could not be read have no key: the slice that the writer's name falls to counts them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from comparator.exchanges.model import Exchange


@dataclass(frozen=True, slots=True)
class KeySlice:
    """One slice of all, by names; the only one, of the name "", owns everything."""

    name: str = ""
    names: Sequence[str] = ("",)

    def owns(self, exchange: Exchange) -> bool:
        """Return whether this slice mirrors the exchange."""
        return owner_of(exchange.key.lower() or exchange.id, self.names) == self.name

    def owns_losses_of(self, writer: str) -> bool:
        """Return whether this slice counts the exchanges of a writer that could not be read."""
        return owner_of(writer, self.names) == self.name


EVERYTHING: Final = KeySlice()


def owner_of(key: str, names: Sequence[str]) -> str:
    """Return the slice that a key falls to."""
    return names[0] if len(names) == 1 else max(names, key=lambda name: (_rank(key, name), name))


def _rank(key: str, name: str) -> bytes:
    return blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8, key=name.encode(), person=b"slices").digest()
