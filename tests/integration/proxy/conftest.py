"""The proxy's tests run on uvloop, as the proxy does."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop


@pytest.hookimpl(tryfirst=True)
def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop of all tests in this folder."""
    del config, item
    return {"uvloop": uvloop.new_event_loop}
