"""One round: clients send, a fault begins, an operator rolls back and looks at the status, the fault ends, and everything is added up."""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.chaos.faults import Fault
from bench.chaos.installation import Chaos, Command

SERVED_BEFORE = 15
SERVED_AFTER = 25
WAIT_S = 120.0
RESUMED_S = 120.0


@dataclass(frozen=True, slots=True)
class RoundResult:
    """The figures of one round; times in seconds.

    Attributes:
        requests, unserved: requests of clients, and those that were not served in the end.
        broken: attempts whose connection broke or was refused, and which the client repeated.
        refused: attempts that got an error of the proxy.
        wait_s: the longest time that a client waited.
        lost, named: exchanges that are lost so far, and that the accounting names.
        problems: what is wrong, "" if nothing is.
        wrong_verdicts: verdicts that are wrong so far.
        rollback_s, rollback_cpu_s: time of the command from the key press to its end, and its CPU time.
        in_effect_s: time from the key press to the last request that the candidate was given.
        status_s: time of `shadow status`.
        settled_s: time until no exchange was on its way, after the last request.
        wrong: what the store has of the verdicts that are wrong since the round before.
    """

    kind: str
    requests: int
    unserved: int
    broken: int
    refused: int
    wait_s: float
    lost: int
    named: int
    problems: str
    wrong_verdicts: int
    rollback_s: float
    rollback_cpu_s: float
    in_effect_s: float
    status_s: float
    settled_s: float
    wrong: Sequence[str] = ()


async def run_round(chaos: Chaos, fault: Fault, draw: random.Random) -> RoundResult:
    """Run one round. The installation is whole again at its end."""
    problems: list[str] = []
    await fault.prepare(chaos)
    began_s, clients = time.monotonic(), chaos.clients
    clients.start()
    await served(chaos, SERVED_BEFORE)
    await asyncio.sleep(draw.random() * 0.5)
    fault_s = draw.uniform(0.3, 1.5)
    await fault.begin(chaos)
    pressed_s = time.monotonic()
    rolled_back, status = await commands(chaos, fault_s)
    await fault.end(chaos)
    await served(chaos, clients.served + SERVED_AFTER)
    in_effect_s = chaos.in_effect_s(pressed_s)
    await resume(chaos)
    await clients.stop()
    try:
        settled_s = await chaos.settle()
    except TimeoutError as error:
        settled_s, problems = WAIT_S, [str(error)]
    balance = await chaos.balance()
    wrong = {*balance.hidden, *balance.false_reports} - chaos.wrong
    chaos.wrong |= wrong
    if not balance.is_closed:
        problems.append(str(balance))
    # (a proxy that is just starting may answer too late: then the files tell it)
    if bool(rolled_back.code) is fault.reachable and not fault.breaks:
        problems.append(f"rollback ended with {rolled_back.code}: {rolled_back.output[-300:]}")
    statuses = clients.statuses(began_s)
    if statuses.total() != statuses[200] and not fault.breaks:
        problems.append(f"statuses of clients (0: the connection broke): {dict(statuses)}")
    await fault.restore(chaos)
    return RoundResult(
        kind=fault.name,
        requests=clients.served + clients.unserved,
        unserved=clients.unserved,
        broken=statuses[0],
        refused=sum(count for status_code, count in statuses.items() if status_code not in (0, 200)),
        wait_s=max(clients.waits_s),
        lost=balance.lost,
        named=balance.named,
        problems="; ".join(problems),
        wrong_verdicts=balance.wrong_verdicts,
        rollback_s=rolled_back.seconds,
        rollback_cpu_s=rolled_back.cpu_s,
        in_effect_s=in_effect_s,
        status_s=status.seconds,
        settled_s=settled_s,
        wrong=await chaos.describe(list(wrong)),
    )


async def commands(chaos: Chaos, fault_s: float) -> tuple[Command, Command]:
    """Roll back and then look at the status while the fault lasts, for `fault_s` at least."""
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(fault_s), name="fault")
        rolled_back = await chaos.command("rollback", "--reason", "chaos")
        status = await chaos.command("status")
    return rolled_back, status


async def served(chaos: Chaos, count: int) -> None:
    """Wait until clients were served so often in this round."""
    async with asyncio.timeout(WAIT_S):
        while chaos.clients.served < count:
            await asyncio.sleep(0.02)


async def resume(chaos: Chaos) -> None:
    """End the rollback, as soon as the rollout can be stored again."""
    started = time.monotonic()
    # (a response that came too late leaves nothing to resume)
    while (
        ended := await chaos.command("resume", "--reason", "mended")
    ).code and "nothing to resume" not in ended.output:
        assert time.monotonic() - started < RESUMED_S, ended.output
        await asyncio.sleep(0.2)


def kinds_of(faults: Sequence[Fault], rounds: int, draw: random.Random) -> list[Fault]:
    """Return the faults of all rounds: each kind in turn, in a drawn order each time."""
    chosen: list[Fault] = []
    while len(chosen) < rounds:
        chosen += draw.sample(faults, len(faults))
    return chosen[:rounds]
