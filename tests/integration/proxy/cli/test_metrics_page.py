"""docs/reference/metrics.md has every metric of a real page of the proxy, and no other but those of shipping to a broker."""

from pathlib import Path

from aiohttp import ClientSession
from prometheus_client.parser import text_string_to_metric_families

from tests.support.docs_reference import metric_rows, name_of
from tests.support.proxy_lab import proxy_lab


async def test_page_of_a_running_proxy_has_the_documented_metrics(tmp_path: Path) -> None:
    async with (
        proxy_lab(tmp_path) as it,
        ClientSession() as session,
        session.get(f"http://127.0.0.1:{it.proxy.admin_port}/metrics") as response,
    ):
        page = await response.text()
    exported = {name_of(family) for family in text_string_to_metric_families(page)}
    # (the Prometheus client adds metrics of the process and of Python)
    documented = {row.name for row in metric_rows() if row.program == "proxy"}
    of_shipping = {name for name in documented if name.startswith(("shadow_shipper_", "shadow_spool_"))}
    assert of_shipping
    assert {name for name in exported if not name.startswith(("process_", "python_"))} == documented - of_shipping
