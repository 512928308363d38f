"""Every table has one canonical name, whatever its schema and relation are called."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparator.table_names import canonical_name, split_name, table_name

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
