"""proxy.runner.key_scheduler: items with a common key run one at a time, in the order of their positions, and none is lost."""

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from proxy.runner.key_scheduler import KeyScheduler

keys = st.frozensets(st.integers(0, 4), max_size=3)


class Scheduling(RuleBasedStateMachine):
    """Add, reserve, start and remove items at random, beside a plain model of what must be scheduled."""

    def __init__(self) -> None:
        super().__init__()
        self.scheduler = KeyScheduler()
        self.scheduled: dict[int, tuple[frozenset[int], tuple[int, int]]] = {}
        self.barriers: set[int] = set()
        self.reserved: set[int] = set()
        self.running: set[int] = set()
        self.next = 1

    @rule(
        keys=keys, lsn=st.integers(0, 20), reserved=st.booleans(), barrier=st.sampled_from([False, False, False, True])
    )
    def add(self, keys: frozenset[int], lsn: int, reserved: bool, barrier: bool) -> None:
        self.scheduler.add(
            self.next, keys=keys, position=(lsn, self.next, self.next), reserved=reserved, barrier=barrier
        )
        if barrier:
            self.barriers.add(self.next)
        self.scheduled[self.next] = (keys, (lsn, self.next))
        if reserved:
            self.reserved.add(self.next)
        self.next += 1

    @rule(limit=st.integers(0, 5))
    def start_ready(self, limit: int) -> None:
        before = set(self.running)
        started = self.scheduler.start_ready(limit)
        assert len(started) <= limit
        for item in started:
            assert item not in self.reserved
            own_keys, position = self.scheduled[item]
            waiting = [
                other
                for other, (keys, earlier) in self.scheduled.items()
                if other != item
                and other not in started
                and other not in before
                and (keys & own_keys or {item, other} & self.barriers)
                and earlier < position
            ]
            assert waiting == []
        self.running |= set(started)

    @precondition(lambda self: self.scheduled)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        item = data.draw(st.sampled_from(sorted(self.scheduled)))
        self.scheduler.remove(item)
        del self.scheduled[item]
        self.reserved.discard(item)
        self.running.discard(item)
        self.barriers.discard(item)

    @invariant()
    def running_barrier_runs_alone(self) -> None:
        assert not self.running & self.barriers or len(self.running) == 1

    @invariant()
    def no_two_running_items_share_a_key(self) -> None:
        in_use = [key for item in self.running for key in self.scheduled[item][0]]
        assert len(in_use) == len(set(in_use))

    @invariant()
    def counts_all_items(self) -> None:
        assert len(self.scheduler) == len(self.scheduled)


TestScheduling = Scheduling.TestCase


@given(st.lists(st.tuples(keys, st.integers(0, 20), st.booleans()), max_size=30))
def test_every_item_runs_in_the_end(items: list[tuple[frozenset[int], int, bool]]) -> None:
    scheduler = KeyScheduler()
    for item, (own, lsn, barrier) in enumerate(items):
        scheduler.add(item, keys=own, position=(lsn, item, item), barrier=barrier)
    order: list[int] = []
    while started := scheduler.start_ready(3):
        order += started
        for item in started:
            scheduler.finish(item)
    assert sorted(order) == list(range(len(items)))
    assert len(scheduler) == 0


def test_reserved_item_blocks_those_behind_it_on_its_key_only() -> None:
    scheduler = KeyScheduler()
    scheduler.add(1, keys={"a"}, position=(1, 1, 1), reserved=True)
    scheduler.add(2, keys={"a"}, position=(2, 2, 2))
    scheduler.add(3, keys={"b"}, position=(3, 3, 3))
    assert scheduler.start_ready(9) == [3]
    scheduler.remove(1)
    assert scheduler.start_ready(9) == [2]


def test_barrier_separates_the_items_before_it_from_those_behind_it() -> None:
    scheduler = KeyScheduler()
    scheduler.add(1, keys={"a"}, position=(1, 1, 1))
    scheduler.add(2, keys={"t"}, position=(2, 2, 2), barrier=True)
    scheduler.add(3, keys={"b"}, position=(3, 3, 3))
    assert scheduler.start_ready(9) == [1]
    scheduler.finish(1)
    assert scheduler.start_ready(9) == [2]
    assert scheduler.start_ready(9) == []
    scheduler.finish(2)
    assert scheduler.start_ready(9) == [3]


def test_late_item_with_an_early_position_waits_for_running_items_only() -> None:
    scheduler = KeyScheduler()
    scheduler.add(1, keys={"a"}, position=(5, 1, 1))
    scheduler.add(2, keys={"a"}, position=(6, 2, 2))
    assert scheduler.start_ready(9) == [1]
    scheduler.add(3, keys={"a"}, position=(4, 3, 3))
    scheduler.finish(1)
    assert scheduler.start_ready(9) == [3]
