"""Which side serves a bucket, and the name of the stage that says so. Pure."""

from dataclasses import dataclass

from comparator.exchange import Side
from proxy.buckets import BUCKETS, threshold_of
from proxy.settings import Serve

ROLLED_BACK = "rolled_back"


@dataclass(frozen=True, slots=True)
class Plan:
    """Buckets below `threshold` are served by `side`, the others by the other side."""

    stage: str
    side: Side
    threshold: int

    def side_of(self, bucket: int) -> Side:
        """Who serves this bucket."""
        return self.side if bucket < self.threshold else self.side.other


def plan_of(serve: Serve, *, rolled_back: bool) -> Plan:
    """The plan in force: a rollback puts every bucket on the legacy, whatever the settings say."""
    if rolled_back:
        return Plan(ROLLED_BACK, Side.LEGACY, BUCKETS)
    return Plan(f"{serve.side}_{serve.percent:g}", serve.side, threshold_of(serve.percent))


def candidate_share(plan: Plan) -> float:
    """Share of the buckets that the candidate serves, 0 to 1."""
    share = plan.threshold / BUCKETS
    return share if plan.side is Side.CANDIDATE else 1 - share
