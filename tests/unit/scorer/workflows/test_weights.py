from typing import Any

import pytest

from scorer.errors import UnanswerableError
from scorer.workflows.weights import as_floats, community_id_of


@pytest.mark.parametrize(
    ("text", "number"), [("1", 1), (" 12 ", 12), ("+1", 1), ("-1", -1), (str(2**63 - 1), 2**63 - 1)]
)
def test_id_is_read_in_any_spelling(text: str, number: int):
    assert community_id_of(text) == number


@pytest.mark.parametrize("text", ["", "x", "1.0", str(2**63), "0x1"])
def test_other_texts_name_no_community(text: str):
    assert community_id_of(text) is None


def test_numeric_texts_become_numbers():
    assert as_floats({"Google": "1.50", "Ens": 2, "Github": 0.5}) == {"Google": 1.5, "Ens": 2.0, "Github": 0.5}


@pytest.mark.parametrize("stored", [None, [], "x", {"Google": None}, {"Google": [1]}, {"Google": "much"}])
def test_anything_else_is_unanswerable(stored: Any):
    with pytest.raises(UnanswerableError):
        as_floats(stored)
