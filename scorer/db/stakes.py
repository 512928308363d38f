"""Tables stake_stake and registry_gtcstakeevent."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from scorer.db.pool import Connection


@dataclass(frozen=True, slots=True)
class Stake:
    """The stake of one address on another, or on itself, on one chain, in whole tokens."""

    chain: int
    staker: str
    stakee: str
    amount: Decimal
    unlock_time: datetime
    lock_time: datetime
    last_updated_in_block: int


OF_ADDRESS = """
SELECT chain, staker, stakee, current_amount, unlock_time, lock_time, last_updated_in_block
FROM stake_stake
WHERE staker = $1 OR stakee = $1
ORDER BY id
"""


async def of_address(conn: Connection, address: str) -> list[Stake]:
    """Read every stake by or on the address (lower case): all chains, empty and expired stakes included."""
    rows = await conn.fetch(OF_ADDRESS, address)
    return [Stake(*row[:6], last_updated_in_block=int(row["last_updated_in_block"])) for row in rows]


@dataclass(frozen=True, slots=True)
class StakeEvent:
    """One event of the older staking contract; `amount` in whole tokens."""

    id: int
    event_type: str
    round_id: int
    staker: str
    address: str | None
    amount: Decimal
    staked: bool
    block_number: int
    tx_hash: str


EVENTS = """
SELECT id, event_type, round_id, staker, address, amount, staked, block_number, tx_hash
FROM registry_gtcstakeevent
WHERE round_id = $2 AND (staker = $1 OR address = $1)
ORDER BY id
"""


async def events(conn: Connection, address: str, *, round_id: int) -> list[StakeEvent]:
    """Read the events of a round by or on the address (lower case)."""
    return [StakeEvent(*row) for row in await conn.fetch(EVENTS, address, round_id)]
