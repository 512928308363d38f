"""The scripts of others that the UI ships and the tests use: each is the file of its release, with its licence."""

import hashlib
from pathlib import Path

import pytest

from tests.support.paths import ROOT

SHIPPED = ROOT / "proxy" / "ui" / "static" / "vendor"
DIGESTS = {
    "htmx.min.js": "a0abb04f2f45a1f89d1d4844023245537e5e6014c87b144553e0607b4cc32130",
}
"""SHA-256 of each file, as in the tarball of the release: htmx.org 4.0.1, package/dist/htmx.min.js."""


@pytest.mark.parametrize("name", DIGESTS)
def test_vendored_file_is_that_of_its_release(name: str) -> None:
    assert hashlib.sha256((SHIPPED / name).read_bytes()).hexdigest() == DIGESTS[name]


def test_every_vendored_file_has_a_digest_or_is_a_licence() -> None:
    assert {path.name for path in SHIPPED.iterdir() if path.suffix != ".LICENSE"} == set(DIGESTS)


@pytest.mark.parametrize("name", DIGESTS)
def test_vendored_file_has_its_licence(name: str) -> None:
    assert Path(SHIPPED, f"{name.partition('.')[0]}.LICENSE").read_text().strip()
