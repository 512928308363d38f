"""proxy.config: whatever a file says, it becomes settings or a SettingsError."""

import string

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.config.conversion import convert
from proxy.config.document import read_document
from proxy.config.loader import load
from proxy.config.settings import Settings
from proxy.errors import SettingsError

SECTIONS = Settings.__struct_fields__
FIELDS = sorted(
    {name for section in SECTIONS for name in getattr(getattr(Settings(), section), "__struct_fields__", ())}
)
KEYS = st.sampled_from([*SECTIONS, *FIELDS, "name", "path"]) | st.text(max_size=5)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | st.dates() | st.datetimes()
DOCUMENTS = st.dictionaries(
    KEYS,
    st.recursive(
        SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
    ),
    max_size=4,
)
PLAIN_TEXT = st.text(alphabet=string.ascii_letters + string.digits + " .:/-_", max_size=20)


@given(st.text(max_size=60))
@example("? &a [*a]\n: x")
@example("!!timestamp x: 1")
@example("a: !!int ''")
def test_any_text_is_settings_or_a_named_error(text: str) -> None:
    try:
        load(text, {})
    except SettingsError as error:
        assert str(error)


@given(DOCUMENTS)
def test_any_document_is_settings_or_a_named_error(document: dict) -> None:
    try:
        load(yaml.safe_dump(document), {})
    except SettingsError as error:
        assert str(error)


@given(st.integers(min_value=0, max_value=65535), st.floats(min_value=0, max_value=100), st.booleans(), PLAIN_TEXT)
def test_variable_means_what_its_value_means_in_the_file(port: int, percent: float, fall_back: bool, salt: str) -> None:
    environ = {"PORT": str(port), "PERCENT": repr(percent), "FALL_BACK": str(fall_back).lower(), "SALT": salt}
    text = "listen: {port: '${PORT}'}\nserve: {percent: '${PERCENT}', fall_back: '${FALL_BACK}', salt: '${SALT:-}'}"
    settings = load(text, environ)
    assert (settings.listen.port, settings.serve.percent, settings.serve.fall_back) == (port, percent, fall_back)
    assert settings.serve.salt == salt


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=5), st.lists(SCALARS.filter(lambda value: value == value), max_size=3), max_size=4
    )
)
def test_document_without_variables_is_what_yaml_reads(document: dict) -> None:
    text = yaml.safe_dump(document)
    try:
        read = read_document(text, {})
    except SettingsError:
        # (an infinite number, or a text with `${` in it)
        assert ".inf" in text or "${" in text
    else:
        assert read == yaml.safe_load(text)


@given(st.text(alphabet=string.ascii_lowercase, min_size=1, max_size=8))
def test_unknown_section_is_refused_by_its_name(name: str) -> None:
    if name in SECTIONS:
        return
    with pytest.raises(SettingsError, match=f"unknown field `{name}`"):
        convert({name: {}}, Settings)
