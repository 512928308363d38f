"""Documents that are nested deeper than they can be read are refused like any other that is damaged, wherever they stand."""

from pathlib import Path

import msgspec
import pytest

from comparator.errors import CaseError
from comparator.findings import cases
from comparator.settings import CompareSettings
from proxy.config.last_good import NAME, last_good
from proxy.errors import JournalFormatError, StateFileError
from proxy.journal.segments import load_committed
from proxy.journal.shipper import STATUS, load_status
from proxy.journal.writer_sessions import SESSIONS, load_sessions
from proxy.rollout.statefile import read_states
from proxy.ui.rule_draft import draft_of
from tests.security.test_control_port import port

DEEP = b"[" * 5_000 + b"]" * 5_000
DOCUMENT = b'{"other":' + DEEP + b"}"


def test_document_is_too_deep() -> None:
    """Otherwise the other tests show nothing."""
    with pytest.raises(RecursionError):
        msgspec.json.decode(DEEP)


def test_files_are_refused(tmp_path: Path) -> None:
    for name in (SESSIONS, STATUS, NAME, "offset.json"):
        (tmp_path / name).write_bytes(DOCUMENT)
    assert load_sessions(tmp_path) is None
    assert last_good(tmp_path / "config.yaml") is None
    with pytest.raises(JournalFormatError):
        load_status(tmp_path)
    with pytest.raises(JournalFormatError):
        load_committed(tmp_path / "offset.json")
    with pytest.raises(StateFileError):
        read_states(tmp_path / "offset.json")
    with pytest.raises(CaseError):
        cases.load(DOCUMENT)


def test_drafts_of_rules_are_refused() -> None:
    assert draft_of(CompareSettings(), "", "rules: " + DEEP.decode()).patch.problem


async def test_bodies_to_the_control_port_are_refused(tmp_path: Path) -> None:
    async with port(tmp_path) as made:
        for path in ("/alertmanager", "/rollout/state"):
            assert (await made.ask("POST", path, DOCUMENT)).status == 400
        assert not made.rolled_back
