from typing import Any

import pytest

from scorer.domain.stamp_metadata import by_provider, metadata_url, parse_platforms

GOOGLE = {
    "id": "Google",
    "icon": "./assets/google.svg",
    "name": "Google",
    "description": "Google account",
    "connectMessage": "Connect Account",
    "website": "dropped",
    "groups": [
        {"name": "Account", "stamps": [{"name": "Google", "description": "Encrypted", "hash": "0x1", "more": 1}]}
    ],
}


@pytest.mark.parametrize(
    ("public_url", "url"),
    [
        ("http://a.example/", "http://a.example/stampMetadata.json"),
        ("http://a.example", "http://a.example/stampMetadata.json"),
        ("http://a.example/app", "http://a.example/stampMetadata.json"),
        ("http://a.example/app/", "http://a.example/app/stampMetadata.json"),
    ],
)
def test_path_without_slash_loses_its_last_segment(public_url: str, url: str):
    assert metadata_url(public_url) == url


def test_icons_become_absolute():
    assert parse_platforms([GOOGLE], public_url="http://a.example/")[0].icon == "http://a.example/assets/google.svg"


def test_provider_is_found_with_its_group_and_platform():
    found = by_provider(parse_platforms([GOOGLE], public_url="http://a.example/"))["Google"]
    assert (found.group, found.platform.id, found.stamp.hash) == ("Account", "Google", "0x1")


def test_platform_may_have_no_stamps():
    assert by_provider(parse_platforms([{**GOOGLE, "groups": []}], public_url="http://a.example/")) == {}


@pytest.mark.parametrize("document", [{"a": 1}, [1], [{"id": "Google"}], [{**GOOGLE, "name": 7}], None, 5])
def test_another_shape_is_refused(document: Any):
    with pytest.raises(ValueError):
        parse_platforms(document, public_url="http://a.example/")
