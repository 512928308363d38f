"""The health of the legacy in the impact of a rollback, by the response of its health path."""

import pytest

from proxy.config.backends import BackendSettings, BackendsSettings, HealthCheckSettings, SideInstances
from proxy.config.rollout import RolloutSettings, SourceSettings
from proxy.config.settings import Settings
from proxy.rollout.rollback_impact import RollbackImpact, render
from proxy.rollout.rollback_impact_collector import ImpactSources, collect_impact
from tests.support.upstream import Upstream


def sources_for(url: str, *, path: str = "", legacy_health: str = "") -> ImpactSources:
    backend = BackendSettings(url=url, health_check=HealthCheckSettings(path=path))
    sources = SourceSettings(runners=("http://127.0.0.1:1",), legacy_health=legacy_health, timeout_s=1.0)
    return ImpactSources.of(
        Settings(
            backends=BackendsSettings(legacy=SideInstances(live=backend)), rollout=RolloutSettings(sources=sources)
        )
    )


async def impact_of(status: int) -> RollbackImpact:
    async with Upstream() as legacy:
        legacy.set_response("/health/", {}, status=status)
        return await collect_impact(sources_for(legacy.url))


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (204, True), (301, True), (401, False), (500, False)])
async def test_statuses_2xx_and_3xx_are_healthy(status: int, healthy: bool) -> None:
    health = (await impact_of(status)).legacy_health
    assert health
    assert health.healthy is healthy


async def test_missing_health_path_is_reported_as_mistyped() -> None:
    impact = await impact_of(404)
    assert not impact.ready
    assert impact.legacy_health
    url = impact.legacy_health.url
    assert url.endswith("/health/")
    assert f"{url} is most likely a mistyped path" in impact.warnings[0]
    assert "legacy: NOT HEALTHY (404" in render(impact)


async def test_configured_health_path_is_requested() -> None:
    async with Upstream() as legacy:
        legacy.set_response("/up", {})
        impact = await collect_impact(sources_for(legacy.url, path="/up"))
    assert impact.legacy_health
    assert impact.legacy_health.healthy


async def test_configured_health_url_takes_precedence() -> None:
    async with Upstream() as legacy:
        legacy.set_response("/other", {})
        impact = await collect_impact(sources_for(legacy.url, path="/up", legacy_health=f"{legacy.url}other"))
    assert [request.path for request in legacy.requests] == ["/other"]
    assert impact.legacy_health
    assert impact.legacy_health.healthy
