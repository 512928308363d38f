"""Ownership of nullifiers."""

from datetime import timedelta

import pytest

from scorer.domain.dedup import HashLink, plan_dedup
from scorer.errors import ScoringError
from tests.support.stamps import ADDRESS, LATER, NOW, OTHER, stamp

THIRD = "0x" + "c" * 40
PAST = NOW - timedelta(days=1)


def plan(stamps, *links):
    return plan_dedup(stamps, links, address=ADDRESS, now=NOW)


def test_new_nullifiers_are_linked_to_the_address():
    made = plan([stamp("Github", "v0:2", "v1:1")])
    assert made.inserts == (HashLink("v0:2", ADDRESS, LATER), HashLink("v1:1", ADDRESS, LATER))
    assert (made.clashing, made.updates) == ((), ())


def test_unexpired_foreign_link_makes_the_stamp_clash():
    held = stamp("Github", "v0:1")
    made = plan([held], HashLink("v0:1", OTHER, LATER))
    assert (made.kept, made.clashing, made.inserts, made.updates) == ((), (held,), (), ())


def test_link_that_expires_now_is_free():
    made = plan([stamp("Github", "v0:1")], HashLink("v0:1", OTHER, NOW))
    assert made.updates == (HashLink("v0:1", ADDRESS, LATER),)


def test_own_link_follows_the_stamp_s_expiry_even_backwards():
    made = plan([stamp("Github", "v0:1")], HashLink("v0:1", ADDRESS, LATER + timedelta(days=9)))
    assert made.updates == (HashLink("v0:1", ADDRESS, LATER),)


def test_own_link_that_is_right_already_is_not_written():
    assert plan([stamp("Github", "v0:1")], HashLink("v0:1", ADDRESS, LATER)).updates == ()


def test_other_nullifiers_of_a_clash_go_to_its_first_owner():
    held = stamp("Github", "v0:free", "v0:second", "v0:first", "v0:third")
    until = LATER + timedelta(days=1)
    links = [HashLink("v0:first", THIRD, LATER), HashLink("v0:second", OTHER, until)]
    made = plan([held], *links)
    assert made.inserts == (HashLink("v0:free", OTHER, until), HashLink("v0:third", OTHER, until))


def test_own_link_in_a_clashing_stamp_is_left_alone():
    made = plan([stamp("Github", "v0:own", "v0:1")], HashLink("v0:1", OTHER, LATER), HashLink("v0:own", ADDRESS, LATER))
    assert (made.inserts, made.updates, len(made.clashing)) == ((), (), 1)


def test_expired_link_in_a_clashing_stamp_passes_to_the_owner_of_the_clash():
    links = [HashLink("v0:1", OTHER, LATER), HashLink("v0:old", THIRD, PAST)]
    assert plan([stamp("Github", "v0:1", "v0:old")], *links).updates == (HashLink("v0:old", OTHER, LATER),)


def test_nullifier_in_two_stamps_is_linked_once_until_the_later_date():
    first, second = stamp("Github", "v0:1"), stamp("Google", "v0:1", expires_at=NOW + timedelta(days=1))
    assert plan([first, second]).inserts == plan([second, first]).inserts == (HashLink("v0:1", ADDRESS, LATER),)


def test_kept_stamp_s_claim_goes_before_a_back_fill():
    kept, clash = stamp("Github", "v0:shared"), stamp("Google", "v0:shared", "v0:1")
    made = plan([clash, kept], HashLink("v0:1", OTHER, LATER))
    assert (made.kept, made.inserts) == ((kept,), (HashLink("v0:shared", ADDRESS, LATER),))


def test_clashes_of_one_credential_provider_collapse_into_the_last():
    first = stamp("Github", "v0:1")
    last = stamp("Google", "v0:2", credential_provider="Github")
    made = plan([first, last], HashLink("v0:1", OTHER, LATER), HashLink("v0:2", OTHER, LATER))
    assert made.clashing == (last,)


def test_nullifier_wider_than_its_column_is_the_database_s_error():
    with pytest.raises(ScoringError, match=r"^value too long for type character varying\(100\)\n$"):
        plan([stamp("Github", "v" * 101)])
