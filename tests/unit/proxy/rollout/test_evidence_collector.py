"""The routes of a group."""

from proxy.config.rollout import GroupSettings, RolloutSettings
from proxy.config.routes import MirrorPolicy, RouteSettings
from proxy.rollout.evidence_collector import routes_of


def test_mirrored_routes_belong_to_their_group_or_to_all() -> None:
    routes = (
        RouteSettings("score", "/score"),
        RouteSettings("history", "/history"),
        RouteSettings("quiet", "/quiet", mirror=MirrorPolicy.SKIP),
        RouteSettings("unsampled", "/unsampled", sample=0.0),
    )
    rollout = RolloutSettings(groups=(GroupSettings("reads", ("history", "quiet")),))
    assert routes_of(routes, rollout, "all") == ("score",)
    assert routes_of(routes, rollout, "reads") == ("history",)
