"""Paths, queries and bodies read in pydantic's words."""

import json

import pytest
from aiohttp.test_utils import make_mocked_request

from scorer import errors
from scorer.api import validation, wire


def request(path: str = "/", **match: str):
    return make_mocked_request("GET", path, match_info=match)


def items(caught) -> list[tuple[str, list[object]]]:
    return [(item["type"], item["loc"]) for item in caught.value.items]


@pytest.mark.parametrize(("raw", "number"), [("1", 1), ("1.0", 1), (" 1", 1), ("+1", 1), ("-1", -1)])
def test_whole_number_may_be_written_in_many_ways(raw, number):
    assert validation.path_int(request(n=raw), "n") == number


@pytest.mark.parametrize("raw", ["abc", "1e3", "1.5", ""])
def test_value_that_is_not_an_integer_is_refused(raw):
    with pytest.raises(errors.ValidationError) as caught:
        validation.path_int(request(n=raw), "n")
    assert items(caught) == [("int_parsing", ["path", "n"])]


def test_id_of_any_length_is_a_number():
    assert validation.path_id(request(n="9" * 5000), "n") == validation.BEYOND_IDS
    assert validation.path_id(request(n="007"), "n") == 7


def test_missing_query_is_named():
    with pytest.raises(errors.ValidationError) as caught:
        validation.query_text(request("/?b=1"), "a")
    assert items(caught) == [("missing", ["query", "a"])]


def test_of_a_repeated_query_the_last_counts():
    assert validation.query_int(request("/?a=1&a=2"), "a", 0) == 2


@pytest.mark.parametrize(("raw", "flag"), [("true", True), ("1", True), ("off", False)])
def test_flags_are_read_as_pydantic_reads_them(raw, flag):
    assert validation.query_flag(request(f"/?a={raw}"), "a") is flag


def checked(schema, payload):
    return validation._validated("body", schema.validator, payload)["payload"]


@pytest.mark.parametrize("given", ["1", " 1 ", 1.0, "1.0", True])
def test_scorer_id_in_a_body_is_lax(given):
    assert checked(wire.EMBED_STAMPS, {"payload": {"scorer_id": given, "stamps": []}})["scorer_id"] == 1


@pytest.mark.parametrize(
    ("payload", "found"),
    [
        ({}, [("missing", ["body", "payload"])]),
        ({"payload": {"scorer_id": 1.5, "stamps": []}}, [("int_from_float", ["body", "payload", "scorer_id"])]),
        (
            {"payload": {"scorer_id": None, "stamps": 5}},
            [("int_type", ["body", "payload", "scorer_id"]), ("list_type", ["body", "payload", "stamps"])],
        ),
        (
            {"payload": "text"},
            [("missing", ["body", "payload", "scorer_id"]), ("missing", ["body", "payload", "stamps"])],
        ),
    ],
)
def test_bodies_are_refused_in_pydantic_s_words(payload, found):
    with pytest.raises(errors.ValidationError) as caught:
        checked(wire.EMBED_STAMPS, payload)
    assert items(caught) == found


def test_items_that_are_not_objects_count_as_empty_objects():
    with pytest.raises(errors.ValidationError) as caught:
        checked(wire.CERAMIC_STAMPS, {"payload": [5, {"provider": 1}]})
    assert items(caught) == [
        ("missing", ["body", "payload", 0, "provider"]),
        ("string_type", ["body", "payload", 1, "provider"]),
    ]


def test_unknown_fields_are_left_out():
    assert checked(wire.CERAMIC_DELETES, {"payload": [{"provider": "a", "more": 1}]}) == [{"provider": "a"}]


@pytest.mark.parametrize(
    "raw", [b"[" * 100_000, b'{"a":' * 100_000, b'["' + b"x" * 10 + b'",' + b"[" * 600, b'["\\' * 600 + b"[" * 600]
)
def test_body_nested_too_deep_is_refused_before_it_is_read(raw):
    with pytest.raises(ValueError, match="nested too deep"):
        validation._parsed(raw)


@pytest.mark.parametrize(
    "value", [[[]] * 2000, {"text": "[" * 2000}, {"text": "\\" + '"[' * 2000}, ["é", 10**40, 1.5, None, "\ud800"]]
)
def test_body_of_bearable_depth_is_read_exactly(value):
    assert validation._parsed(json.dumps(value).encode()) == value
