"""The schedule keeps each key's order, sends everything once, and never goes back in time."""

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from comparator.exchanges.model import Request
from proxy.recordings.model import RecordedExchange
from proxy.replay.schedule import Pace, PerKeyQueue, ScheduledRequest, Watermark, schedule, in_order

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
    offsets = [one.offset_s for one in schedule(lambda: ordered, pace, loops=loops)]
    assert offsets == sorted(offsets)
    assert len(offsets) == len(capture) * loops


@given(records, st.integers(0, 5))
def test_sorting_by_start_keeps_every_record(capture: list[RecordedExchange], held_max: int) -> None:
    assert sorted(map(repr, in_order(capture, held_max=held_max))) == sorted(map(repr, capture))


@given(records, st.randoms(use_true_random=False), st.integers(1, 4))
def test_keys_keep_their_order_and_watermark_counts_all(
    capture, chance, room: int
) -> None:
    turns, mark = PerKeyQueue(), Watermark()
    arriving = list(schedule(lambda: capture, Pace(None)))
    under_way: list[ScheduledRequest] = []
    sent: dict[str, list[int]] = defaultdict(list)

    def start(one: ScheduledRequest) -> None:
        assert not one.order_key or one.order_key not in {other.order_key for other in under_way}
        sent[one.order_key].append(one.number)
        under_way.append(one)

    while arriving or under_way:
        if arriving and (not under_way or (len(under_way) < room and chance.random() < 0.5)):
            one = arriving.pop(0)
            if turns.admit(one):
                start(one)
            continue
        one = under_way.pop(chance.randrange(len(under_way)))
        mark.complete(one.number)
        following = turns.complete(one)
        if following:
            start(following)
    assert all(numbers == sorted(numbers) for key, numbers in sent.items() if key)
    assert mark.low == len(capture)
