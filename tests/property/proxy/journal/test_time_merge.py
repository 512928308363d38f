"""The merge of several machines returns everything once, each writer in its order, and all by time as far as the clocks agree."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from proxy.journal.time_merge import TimeMerge

MS = 1_000_000
LATE_MAX_MS = 400
"""Time after which everything is shipped and reported, in these worlds."""
SILENT_MS = 10_000


@dataclass
class World:
    """Machines that serve, ship in bundles, and report; a reader that takes whatever may be taken.

    Attributes:
        served: by writer, the true times at which its exchanges ended.
        skew: by writer, how far its clock is ahead.
        steps: by writer, its turns: how many exchanges it ships, and whether it reports.
    """

    served: dict[str, list[int]]
    skew: dict[str, int]
    steps: list[tuple[str, int, bool]]
    returned: list[tuple[str, int]] = field(default_factory=list)

    def run(self) -> None:
        merge: TimeMerge[int] = TimeMerge(silent_max_ns=SILENT_MS * MS)
        for writer in self.served:
            merge.begin(writer, fetched=0, now_ns=0)
        shipped = dict.fromkeys(self.served, 0)
        for number, (writer, count, reports) in enumerate(self.steps, 1):
            own, skew = self.served[writer], self.skew[writer]
            batch = own[shipped[writer] : shipped[writer] + count]
            shipped[writer] += len(batch)
            merge.add(
                writer,
                [((true + skew) * MS, true) for true in batch],
                fetched=shipped[writer],
                now_ns=0,
            )
            if reports:
                # (as of the next exchange that is not shipped, which is the most that it can know)
                left = own[shipped[writer] :]
                known = (left[0] if left else 10**6) + skew
                merge.report(
                    writer,
                    report_ns=number,
                    shipped=shipped[writer],
                    complete_ns=known * MS,
                    closed=not left,
                    now_ns=0,
                )
            self._take(merge)
        self._take(merge, now_ns=2 * SILENT_MS * MS)

    def _take(self, merge: TimeMerge[int], *, now_ns: int = 0) -> None:
        while (taken := merge.take(now_ns=now_ns)) is not None:
            self.returned.append(taken)


@st.composite
def worlds(draw: st.DrawFn, *, skew_max: int) -> World:
    names = [f"w{number}" for number in range(draw(st.integers(1, 4)))]
    times = st.lists(st.integers(0, 2_000), max_size=12).map(sorted)
    served = {name: draw(times) for name in names}
    skew = {name: draw(st.integers(-skew_max, skew_max)) for name in names}
    turn = st.tuples(st.sampled_from(names), st.integers(0, 4), st.booleans())
    steps = draw(st.lists(turn, max_size=40))
    # In the end everything is shipped and reported.
    steps += [(name, 12, True) for name in names]
    return World(served, skew, steps)


@given(worlds(skew_max=50))
def test_everything_is_returned_once_and_each_writer_in_its_order(world: World) -> None:
    world.run()
    for name, times in world.served.items():
        assert [true for writer, true in world.returned if writer == name] == times


@given(worlds(skew_max=0))
def test_order_is_that_of_time_where_the_clocks_agree(world: World) -> None:
    world.run()
    times = [true for _, true in world.returned]
    assert times == sorted(times)


@given(worlds(skew_max=50))
def test_exchanges_further_apart_than_the_clocks_keep_their_order(world: World) -> None:
    world.run()
    latest = 0
    for _, true in world.returned:
        assert true >= latest - 100
        latest = max(latest, true)
