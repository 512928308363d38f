import json
from collections import Counter
from itertools import chain

from scorer.population import rows
from scorer.population.people import Issuers, PersonCase, people
from scorer.population.targets import targets

OF_PROFILES = {PersonCase.SHARED, PersonCase.BORROWED}
ORDINARY = set(PersonCase) - {PersonCase.HASH_FORM, PersonCase.SECOND_VERSION} - OF_PROFILES


def test_one_seed_makes_one_population() -> None:
    assert list(people(7, 25)) == list(people(7, 25))
    assert list(people(7, 5)) != list(people(8, 5))


def test_small_population_has_every_case() -> None:
    assert {person.case for person in people(1, 20)} == ORDINARY


def test_known_differences_are_dealt_on_request_only() -> None:
    assert {person.case for person in people(1, 22, known_differences=True)} == set(PersonCase) - OF_PROFILES


def test_nullifiers_are_of_the_first_version_by_default() -> None:
    held = [stamp.credential for person in people(1, 20) for stamp in person.stamps]
    assert all(nullifier.startswith("v0:") for one in held for nullifier in one["credentialSubject"]["nullifiers"])


def test_no_nullifier_is_held_by_two_people_of_the_population() -> None:
    held = [stamp.credential["credentialSubject"]["nullifiers"] for person in people(1, 40) for stamp in person.stamps]
    assert max(Counter(chain.from_iterable(held)).values()) == 1


def test_links_belong_to_outsiders() -> None:
    population = list(people(1, 40))
    outsiders = {link.address for person in population for link in person.links}
    assert outsiders
    assert outsiders.isdisjoint(person.address for person in population)


def test_each_person_has_one_target_with_refused_ones_between() -> None:
    listed = list(targets(people(1, 50)))
    assert len(listed) == 52
    assert Counter(target.status for target in listed) == {200: 50, 400: 1, 404: 1}


def test_rows_are_as_wide_as_their_tables() -> None:
    found = rows.rows(people(1, 20))
    widths = {table: {len(row) for row in records} for table, records in found.items()}
    assert widths == {table: {len(rows.COLUMNS[table])} for table in found}


def test_stored_credentials_are_json_text() -> None:
    found = rows.rows(people(1, 3))
    stamp = found["ceramic_cache_ceramiccache"][0][3]
    assert json.loads(stamp)["issuer"] == Issuers.of(1).trusted.did
