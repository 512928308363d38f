"""Every table has one canonical name, whatever its schema and relation are called."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparator.capture.settings import CaptureSettings
from comparator.settings import CompareSettings
from comparator.table_names import canonical_name, split_name, table_name

WHY = {"reason": "as agreed", "ticket": "T-1"}

identifiers = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=8)
awkward = st.text(st.sampled_from('ab."A '), min_size=1, max_size=5)


@pytest.mark.parametrize(
    ("name", "schema", "relation"),
    [
        ("score", "public", "score"),
        ("billing.invoice", "billing", "invoice"),
        ("other.Odd name", "other", "Odd name"),
        ('"a.b"', "public", "a.b"),
        ('"a.b"."c.d"', "a.b", "c.d"),
        ('"v1.2".score', "v1.2", "score"),
        ('"say ""hi"""', "public", 'say "hi"'),
    ],
)
def test_canonical_name_is_split_and_put_together_again(name: str, schema: str, relation: str) -> None:
    assert split_name(name) == (schema, relation)
    assert table_name(schema, relation) == name


@pytest.mark.parametrize(
    ("spelled", "canonical"),
    [("public.score", "score"), ('"score"', "score"), ('"public"."score"', "score"), ('"Billing".x', "Billing.x")],
)
def test_other_spellings_become_canonical(spelled: str, canonical: str) -> None:
    assert canonical_name(spelled) == canonical


@pytest.mark.parametrize("text", ["", ".", "a.", ".a", "a.b.c", '"a', 'a"b', '"a"b', '""', '"a".', '"a"."b"."c"'])
def test_text_that_names_no_table_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="does not name a table"):
        split_name(text)


@given(identifiers | awkward, identifiers | awkward)
def test_every_table_has_one_name_of_its_own(schema: str, relation: str) -> None:
    assert split_name(table_name(schema, relation)) == (schema, relation)
    assert canonical_name(table_name(schema, relation)) == table_name(schema, relation)


def test_configuration_may_spell_a_table_in_any_way() -> None:
    tables = {
        '"score"': {"natural_key": ["id"], "references": {"address_id": "public.address"}},
        '"a.b".C': {"natural_key": []},
    }
    capture = msgspec.convert({"tables": ["public.score", '"a.b"."C"']}, CaptureSettings)
    compare = msgspec.convert(
        {
            "tables": tables,
            "background": [{"table": "public.score"}],
            "known_differences": [
                {
                    "name": "n",
                    "reason": "r",
                    "where": [{"table": '"score"'}],
                    "when": [{"of": "legacy", "table": '"score"'}],
                }
            ],
        },
        CompareSettings,
    )
    assert capture.tables == tuple(compare.tables) == ("score", '"a.b".C')
    assert compare.tables["score"].references == {"address_id": "address"}
    known = compare.known_differences[0]
    assert compare.background[0].table == known.where[0].table == known.when[0].table == "score"


@pytest.mark.parametrize("section", [CaptureSettings, CompareSettings])
def test_configuration_with_a_text_that_names_no_table_is_refused(section: type) -> None:
    given_tables = ["a.b.c"] if section is CaptureSettings else {"a.b.c": {"natural_key": []}}
    with pytest.raises(msgspec.ValidationError, match="does not name a table"):
        msgspec.convert({"tables": given_tables}, section)


def test_table_that_is_described_twice_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="are the same table"):
        msgspec.convert(
            {"tables": {"score": {"natural_key": []}, "public.score": {"natural_key": []}}}, CompareSettings
        )
