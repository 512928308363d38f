"""Libraries that a start must not load: each takes 100 ms or more, and most processes never need it."""

import subprocess
import sys

LATE = ("jwt", "cryptography", "eth_account", "eth_abi", "redis", "opentelemetry", "pydantic", "didkit")
SHOW = "import sys, scorer.app; print(*sorted({name.partition('.')[0] for name in sys.modules}))"


def test_heavy_libraries_are_loaded_on_demand():
    loaded = subprocess.run([sys.executable, "-c", SHOW], capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in LATE if name in loaded] == []
