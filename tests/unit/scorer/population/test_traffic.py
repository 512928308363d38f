import base64
import hmac
import json
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import pytest

from scorer.errors import ScorerSettingsError
from scorer.population import profile, rows, sql
from scorer.population.people import Person, PersonCase, address_of, deal_of, people
from scorer.population.profile import Profile, RequestKind
from scorer.population.targets import Target, lines
from scorer.population.traffic import Secrets, needs_credentials, traffic

SECRETS = Secrets("signing secret", "internal token")
EVERYTHING = Profile("all", {PersonCase.PASS: 1, PersonCase.MANY: 1}, dict.fromkeys(RequestKind, 1))


def made(wanted: Profile, count: int, *, seed: int = 1, size: int = 12) -> list[Target]:
    population = list(people(seed, size, deal=deal_of(wanted.people)))
    return list(traffic(population, wanted, seed=seed, count=count, secrets=SECRETS))


def of_kind(kind: RequestKind) -> Target:
    wanted = Profile("one", {PersonCase.PASS: 1}, {kind: 1})
    return made(wanted, 1)[0]


def test_one_seed_makes_the_same_bytes() -> None:
    wanted = profile.load("writes")
    assert lines(made(wanted, 90)) == lines(made(wanted, 90))
    assert lines(made(wanted, 90)) != lines(made(wanted, 90, seed=2))


def test_requests_are_in_proportion() -> None:
    wanted = Profile(
        "proportions", {PersonCase.PASS: 1}, {RequestKind.SCORE: 6, RequestKind.BAD_ADDRESS: 3, RequestKind.NO_KEY: 1}
    )
    assert Counter(target.status for target in made(wanted, 100)) == {200: 60, 400: 30, 401: 10}


def test_people_are_dealt_in_proportion_and_spread() -> None:
    assert deal_of({PersonCase.PASS: 2, PersonCase.FAIL: 1}) == (PersonCase.PASS, PersonCase.FAIL, PersonCase.PASS)


def test_requests_go_through_people_in_turn() -> None:
    wanted = Profile("turns", {PersonCase.PASS: 1}, {RequestKind.SCORE: 1})
    assert set(Counter(target.key for target in made(wanted, 24)).values()) == {2}


def test_regulars_are_requested_more_often() -> None:
    wanted = Profile("regulars", {PersonCase.PASS: 1}, {RequestKind.SCORE: 1}, regulars=(0.05, 0.5))
    often = Counter(target.key for target in made(wanted, 400, size=100)).most_common(5)
    assert {address for address, _ in often} == {address_of(f"1.{n}") for n in range(5)}


def test_people_of_one_group_hold_one_nullifier() -> None:
    group = list(people(1, 6, deal=(PersonCase.SHARED,)))
    first = [person.stamps[0].credential["credentialSubject"]["nullifiers"][0] for person in group]
    assert Counter(first) == {first[0]: 3, first[3]: 3}
    assert len({person.address for person in group}) == 6


def test_borrowed_credential_is_about_another_address() -> None:
    (person,) = people(1, 1, deal=(PersonCase.BORROWED,))
    subjects = [stamp.credential["credentialSubject"]["id"].endswith(person.address) for stamp in person.stamps]
    assert subjects == [False, True, True]


def test_people_without_credentials_are_the_same_people() -> None:
    signed, bare = list(people(3, 20)), list(people(3, 20, signed=False))
    assert bare == [Person(person.address, person.case) for person in signed]


def test_repeat_is_the_request_before_once_more() -> None:
    first, again = made(Profile("twice", {PersonCase.PASS: 1}, {RequestKind.SCORE: 1, RequestKind.REPEAT: 1}), 2)
    assert again == msgspec.structs.replace(first, case="repeat")


def test_submitted_stamps_are_those_of_the_person() -> None:
    (person,) = people(1, 1, deal=(PersonCase.PASS,))
    held = [stamp.credential for stamp in person.stamps]
    assert json.loads(of_kind(RequestKind.EMBED_ADD).body)["stamps"] == held
    assert [entry["stamp"] for entry in json.loads(of_kind(RequestKind.CERAMIC_ADD).body)] == held


def test_token_speaks_for_the_person_and_is_signed() -> None:
    target = of_kind(RequestKind.CERAMIC_ADD)
    signed, _, signature = target.headers["Authorization"].removeprefix("Bearer ").rpartition(".")
    assert base64.urlsafe_b64decode(signature + "=") == hmac.digest(b"signing secret", signed.encode(), "sha256")
    claims = json.loads(base64.urlsafe_b64decode(signed.split(".")[1] + "=="))
    assert claims["did"].endswith(target.key)


def test_only_profiles_that_hand_stamps_in_need_credentials() -> None:
    assert needs_credentials(EVERYTHING)
    assert not needs_credentials(profile.load("mixed"))


@pytest.mark.parametrize("kind", list(RequestKind))
def test_every_kind_says_whom_it_is_about(kind: RequestKind) -> None:
    target = of_kind(kind)
    assert target.key.startswith("0x")
    assert target.case
    assert 200 <= target.status < 600


@pytest.mark.parametrize("name", profile.names())
def test_every_profile_that_comes_along_makes_traffic(name: str) -> None:
    assert len(made(profile.load(name), 30)) == 30


def test_profile_of_ones_own_is_a_file(tmp_path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("{about: mine, people: {pass: 1}, requests: {score: 1}}")
    assert profile.load(str(path)).about == "mine"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{about: x, people: {pass: 1}, requests: {dance: 1}}", "dance"),
        ("{about: x, people: {pass: 1}, requests: {score: -1}}", "below 0"),
        ("{about: x, people: {}, requests: {score: 1}}", "not be empty"),
        ("{about: x, people: {pass: 0}, requests: {score: 1}}", "above 0"),
        ("{about: x, people: {pass: 1}, requests: {score: 1}, regulars: [2, 0]}", "regulars"),
        ("{about: x, people: {pass: 1}, requests: {score: 1}, more: 1}", "more"),
    ],
)
def test_invalid_profile_is_refused_with_its_field(tmp_path, text: str, said: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(ScorerSettingsError, match=said):
        profile.load(str(path))


def test_profile_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(ScorerSettingsError, match="clashes, errors, mixed, plain, writes"):
        profile.load("nowhere")


def test_script_writes_values_as_copy_reads_them() -> None:
    record = (1, "a\tb\\c\nd", None, True, Decimal("2.50"), datetime(2024, 1, 1, tzinfo=UTC))
    columns = ("id", "text", "nothing", "flag", "weight", "at")
    assert list(sql.copied("thing", columns, [record])) == [
        "COPY thing (id, text, nothing, flag, weight, at) FROM stdin;\n",
        "1\ta\\tb\\\\c\\nd\t\\N\tt\t2.50\t2024-01-01T00:00:00+00:00\n",
        "\\.\n",
    ]


def test_script_lets_ids_go_on() -> None:
    script = "".join(sql.script(rows.rows(people(1, 3))))
    advanced = (
        "SELECT setval(pg_get_serial_sequence('account_community', 'id'), (SELECT max(id) FROM account_community));"
    )
    assert advanced in script
    assert script.endswith(f"COMMIT;\nANALYZE {', '.join(rows.COLUMNS)};\n")
