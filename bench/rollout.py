"""Simulate rollouts: the rate of false rollbacks of a good candidate, and the requests that bad ones harm before they are rolled back.

`make bench-rollout ARGS=300` simulates 300 rollouts of the good candidate, and a tenth as many of each bad one.
"""

import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial

from comparator.stats.confidence import rate_interval
from proxy.rollout.state_machine import Phase
from tests.support.rollout_simulation import BAD, GOOD, SimulatedCandidate, SimulatedRollout, simulate


def summary(candidate: SimulatedCandidate, runs: list[SimulatedRollout]) -> str:
    rolled_back = [run for run in runs if run.phase is Phase.ROLLING_BACK]
    promoted = sum(run.phase is Phase.PROMOTED for run in runs)
    harmed = sorted(run.harmed_requests for run in rolled_back) or [0.0]
    gates = ",".join(sorted({run.gate for run in rolled_back}))
    return (
        f"{candidate.name:<48} {promoted:>4} promoted {len(rolled_back):>4} rolled back of {len(runs):>4}  "
        f"harmed median {harmed[len(harmed) // 2]:>8.0f} max {harmed[-1]:>8.0f}  {gates}"
    )


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    bad = [*BAD, *(replace(one, name=f"{one.name}, from 25 % on", since_percent=25.0) for one in BAD)]
    with ProcessPoolExecutor() as pool:
        good = list(pool.map(partial(simulate, GOOD), range(count), chunksize=5))
        print(summary(GOOD, good))
        false = sum(run.phase is Phase.ROLLING_BACK for run in good)
        print(
            f"false rollbacks: {false} of {count}, at most {rate_interval(false, count).high:.2%} (always-valid 95 %)"
        )
        for candidate in bad:
            print(summary(candidate, list(pool.map(partial(simulate, candidate), range(max(1, count // 10))))))


if __name__ == "__main__":
    main()
