"""The schedule keeps the order of each key, sends everything once, and never goes back in time."""

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from comparator.exchanges.model import Request
from proxy.recordings.model import RecordedExchange
from proxy.replay.schedule import Pace, PerKeyQueue, ScheduledRequest, Watermark, in_order, schedule

records = st.lists(
    st.builds(
        RecordedExchange,
        st.just(Request("GET", "/", (), b"")),
        started_ns=st.integers(0, 10**12),
        key=st.sampled_from(["", "a", "b"]),
    ),
    max_size=12,
)
paces = st.builds(Pace, st.floats(0.1, 100), st.none(), st.floats(0, 100)) | st.builds(
    Pace, st.none(), st.none() | st.floats(0.1, 1000), st.just(0.0)
)


@given(records, paces, st.integers(1, 3))
def test_offsets_never_go_back(capture: list[RecordedExchange], pace: Pace, loops: int) -> None:
    ordered = list(in_order(capture))
    offsets = [item.offset_s for item in schedule(lambda: ordered, pace, loops=loops)]
    assert offsets == sorted(offsets)
    assert len(offsets) == len(capture) * loops


@given(records, st.integers(0, 5))
def test_sorting_by_start_keeps_every_record(capture: list[RecordedExchange], held_max: int) -> None:
    assert sorted(map(repr, in_order(capture, held_max=held_max))) == sorted(map(repr, capture))


@given(records, st.randoms(use_true_random=False), st.integers(1, 4))
def test_keys_keep_their_order_and_watermark_counts_all(capture, chance, room: int) -> None:
    turns, mark = PerKeyQueue(), Watermark()
    arriving = list(schedule(lambda: capture, Pace(None)))
    under_way: list[ScheduledRequest] = []
    sent: dict[str, list[int]] = defaultdict(list)

    def start(item: ScheduledRequest) -> None:
        assert not item.order_key or item.order_key not in {other.order_key for other in under_way}
        sent[item.order_key].append(item.number)
        under_way.append(item)

    while arriving or under_way:
        if arriving and (not under_way or (len(under_way) < room and chance.random() < 0.5)):
            item = arriving.pop(0)
            if turns.admit(item):
                start(item)
            continue
        item = under_way.pop(chance.randrange(len(under_way)))
        mark.complete(item.number)
        following = turns.complete(item)
        if following:
            start(following)
    assert all(numbers == sorted(numbers) for key, numbers in sent.items() if key)
    assert mark.low == len(capture)
