"""Properties of every deduplication plan."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from scorer.domain.dedup import DedupPlan, HashLink, plan_dedup
from tests.support.stamps import ADDRESS, OTHER, stamp

NOW = datetime(2030, 1, 1, tzinfo=UTC)
THIRD = "0x" + "c" * 40
hashes = st.sampled_from([f"v0:{n}" for n in range(6)])
moments = st.integers(-3, 3).map(lambda days: NOW + timedelta(days=days))
futures = st.integers(1, 5).map(lambda days: NOW + timedelta(days=days))
links_of = st.dictionaries(hashes, st.tuples(st.sampled_from([ADDRESS, OTHER, THIRD]), moments)).map(
    lambda held: {name: HashLink(name, *rest) for name, rest in held.items()}
)
stamps_of = st.lists(st.tuples(st.lists(hashes, min_size=1, max_size=4), futures), max_size=5).map(
    lambda held: [stamp(f"P{n}", *names, expires_at=at) for n, (names, at) in enumerate(held)]
)


def plan(stamps, links: Mapping[str, HashLink]) -> DedupPlan:
    return plan_dedup(stamps, links.values(), address=ADDRESS, now=NOW)


def applied(made: DedupPlan, links: Mapping[str, HashLink]) -> dict[str, HashLink]:
    return {**links, **{link.hash: link for link in (*made.inserts, *made.updates)}}


@given(stamps_of, links_of)
def test_every_stamp_is_either_kept_or_clashes(stamps, links):
    made = plan(stamps, links)
    assert sorted([*made.kept, *made.clashing], key=lambda s: s.provider) == stamps


@given(stamps_of, links_of)
def test_no_unexpired_link_of_another_address_is_touched(stamps, links):
    made = plan(stamps, links)
    held = {name for name, link in links.items() if link.address != ADDRESS and link.expires_at > NOW}
    assert held.isdisjoint(link.hash for link in (*made.inserts, *made.updates))


@given(stamps_of, links_of)
def test_plan_applied_twice_keeps_the_same_and_writes_nothing_more(stamps, links):
    first = plan(stamps, links)
    again = plan(stamps, applied(first, links))
    assert (again.kept, again.clashing, again.inserts, again.updates) == (first.kept, first.clashing, (), ())


@given(stamps_of, links_of)
def test_every_nullifier_of_a_kept_stamp_is_the_address_s_afterwards(stamps, links):
    made = plan(stamps, links)
    after = applied(made, links)
    owned = {name: after[name].address for held in made.kept for name in held.nullifiers}
    assert set(owned.values()) <= {ADDRESS}


@given(stamps_of, links_of)
def test_inserts_are_new_updates_are_known_and_both_are_sorted(stamps, links):
    made = plan(stamps, links)
    inserted, updated = [link.hash for link in made.inserts], [link.hash for link in made.updates]
    assert (set(inserted) & set(links), set(updated) - set(links)) == (set(), set())
    assert (sorted(set(inserted)), sorted(set(updated))) == (inserted, updated)


@given(stamps_of, links_of, st.randoms(use_true_random=False))
def test_order_of_stamps_does_not_affect_which_count(stamps, links, random):
    shuffled = list(stamps)
    random.shuffle(shuffled)
    made, other = plan(stamps, links), plan(shuffled, links)
    assert set(made.kept) == set(other.kept)
