"""A slice of `make bench-chaos`: after a kill every loss is named and no other, no verdict is wrong, and every client was served."""

import random

import pytest

from bench.chaos.faults import FAULTS
from bench.chaos.installation import installed
from bench.chaos.rounds import run_round
from tests.support.matrix import sliced

KINDS = sliced(("kill_proxy", "kill_runner", "kill_worker"), 1)


@pytest.mark.asyncio
async def test_every_loss_is_named_and_no_other(postgres_dsn: str) -> None:
    faults = {fault.name: fault for fault in FAULTS}
    async with installed(postgres_dsn, with_disk=False, own_store=False, measured=False) as chaos:
        results = [await run_round(chaos, faults[kind], random.Random(kind)) for kind in KINDS]
    assert [(one.problems, one.unserved, one.wrong_verdicts) for one in results] == [("", 0, 0)] * len(KINDS), results
    assert all(result.lost == result.named for result in results)
