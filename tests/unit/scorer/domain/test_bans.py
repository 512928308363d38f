from datetime import UTC, datetime

from scorer.domain.bans import Ban, BannedSubject, find_bans, of_one_subject, subject_address

ADDRESS = "0x" + "ab" * 20


def ban(kind: str, *, provider: str = "", hash: str = "", address: str = "", reason: str | None = None) -> Ban:  # noqa: A002
    return Ban(kind, provider, hash, address, datetime(2099, 1, 1, tzinfo=UTC), reason)


def subject(hash: str = "h", provider: str = "Google") -> BannedSubject:  # noqa: A002
    return BannedSubject(hash, provider, f"did:pkh:eip155:1:{ADDRESS}")


def kinds(bans: list[Ban], *subjects: BannedSubject) -> list[str | None]:
    return [found.ban and found.ban.kind for found in find_bans(subjects, bans, address=ADDRESS)]


def test_address_follows_the_last_colon():
    assert subject_address(f"did:pkh:eip155:1:{ADDRESS}") == ADDRESS


def test_id_without_colon_is_its_own_address():
    assert subject_address("x") == "x"


def test_ids_that_differ_in_case_are_two_subjects():
    assert not of_one_subject([BannedSubject("h", "p", "did:0xA"), BannedSubject("h", "p", "did:0xa")])


def test_account_ban_matches_whatever_the_case_of_the_address():
    assert kinds([ban("account", address=ADDRESS.upper())], subject()) == ["account"]


def test_account_ban_with_a_provider_matches_nothing():
    assert kinds([ban("account", address=ADDRESS, provider="Google")], subject()) == [None]


def test_hash_ban_matches_that_hash_alone():
    assert kinds([ban("hash", hash="h")], subject("h"), subject("other")) == ["hash", None]


def test_single_stamp_ban_needs_the_provider_too():
    bans = [ban("single_stamp", address=ADDRESS, provider="Google")]
    assert kinds(bans, subject(), subject(provider="Github")) == ["single_stamp", None]


def test_first_matching_ban_wins():
    bans = [ban("hash", hash="h", reason="one"), ban("account", address=ADDRESS, reason="two")]
    assert kinds(bans, subject()) == ["hash"]


def test_ban_of_unknown_kind_matches_nothing():
    assert kinds([ban("other", hash="h", address=ADDRESS)], subject()) == [None]
