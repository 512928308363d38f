"""Installations of real processes for the end-to-end tests; the tests of a module share one."""

import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from proxy.demo.installation import DemoOptions, Installation, drop_databases, installed


@asynccontextmanager
async def installation(
    server_dsn: str,
    *,
    addresses: int,
    divergences: str = "",
    environment: Mapping[str, str] | None = None,
    known_differences: bool = False,
    twin: bool = False,
    **sections: Mapping[str, Any],
) -> AsyncIterator[Installation]:
    """Run a whole system on its own databases and remove it at the end of the block; `sections` override the configuration."""
    folder = Path(tempfile.mkdtemp(prefix="shadow-e2e-"))
    options = DemoOptions(
        folder,
        address_count=addresses,
        divergences=divergences,
        known_differences=known_differences,
        twin=twin,
        prefix=f"e2e_{uuid.uuid4().hex[:8]}_",
        environment=environment or {},
        overrides=sections,
    )
    try:
        async with installed(server_dsn, options, lambda _: None) as running:
            yield running
    finally:
        await drop_databases(server_dsn, options.prefix)
        shutil.rmtree(folder, ignore_errors=True)
