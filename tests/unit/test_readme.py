"""README's tables are complete: they are written from the code, and this test fails when one is not."""

import pytest

from tests.support.paths import ROOT
from tests.support.readme import SECTIONS, section_of

README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("name", sorted(SECTIONS))
def test_table_is_what_the_code_says(name: str) -> None:
    assert section_of(README, name) == SECTIONS[name](), "run `make readme`"
