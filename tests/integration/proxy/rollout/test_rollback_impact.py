"""Whether the legacy is fit to take everybody, by what its health path answers."""

from typing import Any

import pytest

from proxy.config.backends import BackendSettings, BackendsSettings, HealthCheckSettings, SideInstances
from proxy.config.rollout import RolloutSettings, SourceSettings
from proxy.config.settings import Settings
from proxy.rollout import rollback_impact as readiness
from tests.support.upstream import Upstream


def settings_for(url: str, *, path: str = "", legacy_health: str = "") -> Settings:
    backend = BackendSettings(url=url, health_check=HealthCheckSettings(path=path))
    sources = SourceSettings(runners=("http://127.0.0.1:1",), legacy_health=legacy_health, timeout_s=1.0)
    return Settings(
        backends=BackendsSettings(legacy=SideInstances(live=backend)), rollout=RolloutSettings(sources=sources)
    )


async def asked(status: int) -> dict[str, Any]:
    async with Upstream() as legacy:
        legacy.set_response("/health/", {}, status=status)
        return await readiness.assess_impact(settings_for(legacy.url))


@pytest.mark.parametrize(("status", "well"), [(200, True), (204, True), (301, True), (401, False), (500, False)])
async def test_two_and_three_hundreds_are_well(status: int, well: bool) -> None:
    assert (await asked(status))["legacy_health"]["healthy"] is well


async def test_a_path_that_is_not_there_is_said_to_be_mistyped() -> None:
    found = await asked(404)
    assert not found["ready"]
    url = found["legacy_health"]["url"]
    assert url.endswith("/health/")
    assert f"{url} is most likely a mistyped path" in found["warnings"][0]
    assert "legacy: NOT HEALTHY (404" in readiness.render(found)


async def test_the_backends_own_health_path_is_asked() -> None:
    async with Upstream() as legacy:
        legacy.set_response("/up", {})
        found = await readiness.assess_impact(settings_for(legacy.url, path="/up"))
    assert found["legacy_health"]["healthy"]


async def test_a_url_of_its_own_wins() -> None:
    async with Upstream() as legacy:
        legacy.set_response("/other", {})
        found = await readiness.assess_impact(settings_for(legacy.url, path="/up", legacy_health=f"{legacy.url}other"))
    assert [one.path for one in legacy.requests] == ["/other"]
    assert found["legacy_health"]["healthy"]
