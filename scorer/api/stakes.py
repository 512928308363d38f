"""Stakes: the current ones by address, and the events of the older contract by round."""

from typing import Any

from aiohttp import web

from scorer.api import responses, validation
from scorer.api.context import DATABASE, TOKEN_ADDRESS
from scorer.db import stakes
from scorer.db.stakes import Stake, StakeEvent
from scorer.domain.address import is_lower_address
from scorer.domain.checksums import is_address
from scorer.domain.texts import is_storable
from scorer.errors import AddressInvalidError

# The column is an integer; a larger round has no events.
_ROUND_MAX = 2**31 - 1


async def gtc(request: web.Request) -> web.Response:
    """List the stakes of the address in the path, which must have a valid checksum."""
    address = request.match_info["address"]
    if not is_address(address):
        raise AddressInvalidError
    return await _of_address(request, address)


async def own_gtc(request: web.Request) -> web.Response:
    """List the stakes of the token's address; one that is not an address has none."""
    return await _of_address(request, request[TOKEN_ADDRESS])


async def legacy_gtc(request: web.Request) -> web.Response:
    """List the events of a round by or on an address; any checksum is accepted."""
    address, round_id = request.match_info["address"].lower(), validation.path_id(request, "round_id")
    if not is_lower_address(address):
        raise AddressInvalidError
    known = round_id <= _ROUND_MAX
    rows = await request.app[DATABASE].read(lambda c: stakes.events(c, address, round_id=round_id)) if known else []
    return responses.json_response({"results": [_event(event) for event in rows]})


async def _of_address(request: web.Request, address: str) -> web.Response:
    known = is_storable(address)
    rows = await request.app[DATABASE].read(lambda c: stakes.of_address(c, address.lower())) if known else []
    return responses.json_response({"items": [_stake(stake) for stake in rows]})


def _stake(stake: Stake) -> dict[str, Any]:
    return {
        "chain": stake.chain,
        "staker": stake.staker,
        "stakee": stake.stakee,
        "amount": f"{stake.amount:.18f}",
        "unlock_time": stake.unlock_time.isoformat(),
        "lock_time": stake.lock_time.isoformat(),
        "last_updated_in_block": stake.last_updated_in_block,
    }


def _event(event: StakeEvent) -> dict[str, Any]:
    return {
        "id": event.id,
        "event_type": event.event_type,
        "round_id": event.round_id,
        "staker": event.staker,
        "address": event.address,
        "amount": f"{event.amount:.18f}",
        "staked": event.staked,
        "block_number": event.block_number,
        "tx_hash": event.tx_hash,
    }
