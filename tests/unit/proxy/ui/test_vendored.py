"""The scripts of others that the UI ships and the tests use: each is the file of its release, with its licence."""

import hashlib
from pathlib import Path

import pytest

from tests.support.paths import ROOT

SHIPPED = ROOT / "proxy" / "ui" / "static" / "vendor"
AXE = ROOT / "tests" / "data" / "axe"
DIGESTS = {
    # htmx.org 4.0.1: dist/htmx.min.js
    SHIPPED / "htmx.min.js": "a0abb04f2f45a1f89d1d4844023245537e5e6014c87b144553e0607b4cc32130",
    # axe-core 4.14.1: axe.min.js
    AXE / "axe.min.js": "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c",
}
"""SHA-256 of each file, as it is in the package of its release."""


@pytest.mark.parametrize("path", DIGESTS, ids=lambda path: path.name)
def test_vendored_file_is_that_of_its_release(path: Path) -> None:
    assert hashlib.sha256(path.read_bytes()).hexdigest() == DIGESTS[path]


@pytest.mark.parametrize("folder", [SHIPPED, AXE], ids=lambda path: path.name)
def test_vendored_files_have_a_digest_or_are_licences(folder: Path) -> None:
    assert {path for path in folder.iterdir() if path.suffix != ".LICENSE"} == {
        path for path in DIGESTS if path.parent == folder
    }


@pytest.mark.parametrize("path", DIGESTS, ids=lambda path: path.name)
def test_vendored_file_has_its_licence(path: Path) -> None:
    assert (path.parent / f"{path.name.partition('.')[0]}.LICENSE").read_text().strip()
