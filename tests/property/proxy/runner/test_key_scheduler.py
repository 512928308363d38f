"""proxy.runner.key_scheduler: items with a common key run one after the other, in position order, and none is forgotten."""

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from proxy.runner.key_scheduler import KeyScheduler

keys = st.frozensets(st.integers(0, 4), max_size=3)


class Scheduling(RuleBasedStateMachine):
    """Adds, starts, holds, releases and ends items at random, beside a plain list that knows the truth."""

    def __init__(self) -> None:
        super().__init__()
        self.lanes = KeyScheduler()
        self.known: dict[int, tuple[frozenset[int], tuple[int, int]]] = {}
        self.held: set[int] = set()
        self.running: set[int] = set()
        self.next = 1

    @rule(keys=keys, lsn=st.integers(0, 20), held=st.booleans())
    def add(self, keys: frozenset[int], lsn: int, held: bool) -> None:
        self.lanes.add(self.next, keys=keys, position=(lsn, self.next), held=held)
        self.known[self.next] = (keys, (lsn, self.next))
        if held:
            self.held.add(self.next)
        self.next += 1

    @rule(limit=st.integers(0, 5))
    def take(self, limit: int) -> None:
        before = set(self.running)
        started = self.lanes.take(limit)
        assert len(started) <= limit
        for item in started:
            assert item not in self.held
            mine, position = self.known[item]
            waiting = [
                other
                for other, (theirs, place) in self.known.items()
                if other != item and other not in started and other not in before and theirs & mine and place < position
            ]
            assert waiting == []
        self.running |= set(started)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        item = data.draw(st.sampled_from(sorted(self.held)))
        self.held.discard(item)
        self.lanes.release(item)

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        item = data.draw(st.sampled_from(sorted(self.known)))
        self.lanes.remove(item)
        del self.known[item]
        self.held.discard(item)
        self.running.discard(item)

    @invariant()
    def no_two_running_items_share_a_key(self) -> None:
        taken = [key for item in self.running for key in self.known[item][0]]
        assert len(taken) == len(set(taken))

    @invariant()
    def knows_what_lives(self) -> None:
        assert len(self.lanes) == len(self.known)


TestScheduling = Scheduling.TestCase


@given(st.lists(st.tuples(keys, st.integers(0, 20)), max_size=30))
def test_everything_added_runs_in_the_end(items: list[tuple[frozenset[int], int]]) -> None:
    lanes = KeyScheduler()
    for item, (own, lsn) in enumerate(items):
        lanes.add(item, keys=own, position=(lsn, item))
    order: list[int] = []
    while started := lanes.take(3):
        order += started
        for item in started:
            lanes.done(item)
    assert sorted(order) == list(range(len(items)))
    assert len(lanes) == 0


def test_held_item_blocks_those_behind_it_on_its_key_only() -> None:
    lanes = KeyScheduler()
    lanes.add(1, keys={"a"}, position=(1, 1), held=True)
    lanes.add(2, keys={"a"}, position=(2, 2))
    lanes.add(3, keys={"b"}, position=(3, 3))
    assert lanes.take(9) == [3]
    lanes.remove(1)
    assert lanes.take(9) == [2]


def test_late_item_with_an_early_position_waits_for_what_runs_only() -> None:
    lanes = KeyScheduler()
    lanes.add(1, keys={"a"}, position=(5, 1))
    lanes.add(2, keys={"a"}, position=(6, 2))
    assert lanes.take(9) == [1]
    lanes.add(3, keys={"a"}, position=(4, 3))
    lanes.done(1)
    assert lanes.take(9) == [3]
