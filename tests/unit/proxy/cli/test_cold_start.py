"""Imports that would delay `shadow status` and `shadow rollback`, which are waited for at night."""

import subprocess
import sys

import pytest

LATE = {
    "proxy.cli.rollout": ("aiohttp", "asyncpg", "prometheus_client", "zstandard", "cryptography", "comparator.store"),
    "proxy.cli.status": (
        "comparator.verdict",
        "comparator.effects",
        "comparator.responses.compare",
        "proxy.http1",
        "proxy.journal.segment_writer",
        "proxy.serving",
    ),
}


@pytest.mark.parametrize("command", LATE)
def test_what_a_command_does_not_use_is_not_imported(command: str) -> None:
    show = f"import sys, {command}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True).stdout.split()
    assert command in loaded
    assert [name for name in LATE[command] if name in loaded] == []
