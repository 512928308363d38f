"""Tokens of the listing's pages."""

import base64

import pytest

from scorer.domain.cursor import Cursor, parse_cursor
from scorer.errors import UnanswerableError


def token(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


def test_token_has_the_format_of_the_legacy():
    assert Cursor("next", 4).token() == "eyJkIjogIm5leHQiLCAiaWQiOiA0fQ"


def test_padding_is_tolerated():
    assert parse_cursor("eyJkIjogIm5leHQiLCAiaWQiOiAzfQ==") == Cursor("next", 3)


@pytest.mark.parametrize(
    "raw", ["abc", "!!", token('{"d": "next"}'), token('{"d": "next", "id": "x"}'), token("[]"), token("5"), "§"]
)
def test_malformed_token_fails_the_request(raw):
    with pytest.raises(UnanswerableError):
        parse_cursor(raw)


def test_id_beyond_the_column_is_cut():
    assert parse_cursor(token('{"d": "prev", "id": 99999999999999999999}')) == Cursor("prev", 2**63 - 1)


@pytest.mark.parametrize("raw", ["{}", '{"id": "x"}', '{"d": null}', '{"d": ["next"], "id": 1}', '{"d": "sideways"}'])
def test_token_without_a_direction_is_the_first_page(raw: str):
    assert parse_cursor(token(raw)) is None


@pytest.mark.parametrize(
    ("raw", "cursor"),
    [
        ('{"d": "next", "id": 3.5}', Cursor("next", 4)),
        ('{"d": "prev", "id": 3.5}', Cursor("prev", 3)),
        ('{"d": "next", "id": "7"}', Cursor("next", 7)),
        ('{"d": "next", "id": true}', Cursor("next", 1)),
    ],
)
def test_id_of_another_type_is_read_as_a_number(raw: str, cursor: Cursor):
    assert parse_cursor(token(raw)) == cursor
