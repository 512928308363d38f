"""`shadow rollout plan`: print the expected hours of each step and gate of the rollout, for the traffic that was seen or is given."""

import argparse
import datetime as dt
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from comparator.postgres import Connection
from comparator.stats.duration_buckets import log_quantile
from comparator.store.step_evidence import HitKind
from proxy.cli.exit_codes import Exit
from proxy.cli.options import add_common_options, print_result, read_configuration, with_store
from proxy.cli.output import print_error
from proxy.config.rollout import steps_of
from proxy.config.settings import Settings
from proxy.rollout.evidence_collector import routes_of
from proxy.rollout.group_state import ALL
from proxy.rollout.plan import LATENCY_SPREAD, StepPlan, Traffic, plan_step, render

AROUND: Final = 0.02
"""Distance of the two quantiles by which the density of durations is estimated."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand and its arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    plan = actions.add_parser("plan", help="print the expected hours of each step and gate")
    plan.add_argument("--group", default=ALL, help="route group (default: %(default)s)")
    plan.add_argument(
        "--per-s", type=float, default=0.0, help="comparisons per second; default: those of the last --hours"
    )
    plan.add_argument("--hours", type=float, default=24.0, help="hours of traffic to look at (default: %(default)s)")
    plan.add_argument(
        "--mismatch-rate", type=float, help="share of comparisons that differ; default: as seen, or 0.0001"
    )
    plan.add_argument("--error-rate", type=float, help="share that each side alone fails; default: as seen, or 0.0001")
    plan.add_argument("--latency-ratio", type=float, help="candidate over legacy; default: as seen, or 1")
    add_common_options(plan, store=True)


def run(args: argparse.Namespace) -> int:
    """Print the plan; NEGATIVE when a step is expected never to be left."""
    settings = read_configuration(args)
    names = routes_of(settings.routes, settings.rollout, args.group)
    if args.per_s:
        traffic = Traffic({route: args.per_s / len(names) for route in names} or {"all routes": args.per_s})
    else:
        traffic = with_store(settings, lambda conn: seen_traffic(conn, settings, names, hours=args.hours))
        if not traffic.total_per_s:
            print_error("rollout plan", f"nothing was compared in the last {args.hours:g} hours: give --per-s")
            return Exit.NEGATIVE
    traffic = _with_options(traffic, args)
    quiet = frozenset(route.name for route in settings.routes if route.quiet)
    gates = settings.rollout.gates
    steps = tuple(
        plan_step(step, gates, traffic, quiet_routes=quiet) for step in steps_of(settings.rollout, args.group)
    )
    print_result(args, _document(steps), "\n".join(render(steps, traffic)))
    return Exit.DONE if all(math.isfinite(step.hours) for step in steps[:-1]) else Exit.NEGATIVE


def _with_options(traffic: Traffic, args: argparse.Namespace) -> Traffic:
    return Traffic(
        per_s=traffic.per_s,
        mismatch_rate=traffic.mismatch_rate if args.mismatch_rate is None else args.mismatch_rate,
        error_rates=traffic.error_rates if args.error_rate is None else (args.error_rate, args.error_rate),
        transient_rate=traffic.transient_rate,
        latency_ratio=traffic.latency_ratio if args.latency_ratio is None else args.latency_ratio,
        latency_spread=traffic.latency_spread,
    )


def _document(steps: tuple[StepPlan, ...]) -> list[dict[str, Any]]:
    """Return the plan as JSON values; null for a gate that never opens."""

    def finite(hours: float) -> float | None:
        return round(hours, 3) if math.isfinite(hours) else None

    return [
        {
            "percent": step.percent,
            "hours": finite(step.hours),
            "decides": step.decides.value,
            "gates": {name.value: finite(hours) for name, hours in step.hours_of.items()},
        }
        for step in steps[:-1]
    ]


SELECT_SEEN = """
SELECT
    route, sum(match + known + mismatch + transient)::bigint AS compared, sum(judged)::bigint AS judged, sum(pairs)::bigint AS pairs,
    (sum(match + known + mismatch + transient) FILTER (WHERE served_by = 'legacy'))::bigint AS candidate_mirrored
FROM shadow.step_count WHERE minute >= $1 AND route = ANY($2) GROUP BY route
"""
SELECT_HITS = """
SELECT kind, sum(count)::bigint AS count FROM shadow.step_hit WHERE minute >= $1 AND route = ANY($2) GROUP BY kind
"""
SELECT_RATIO = """
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY log_ratio) FROM shadow.step_block
WHERE begins >= $1 AND stage NOT LIKE '%candidate\\_0' AND stage NOT LIKE '%candidate\\_100'
"""
SELECT_DURATIONS = """
SELECT bucket, sum(count)::bigint AS count FROM shadow.step_duration
WHERE minute >= $1 AND served_by = 'legacy' AND role = 'served' GROUP BY bucket
"""


async def seen_traffic(conn: Connection, settings: Settings, names: tuple[str, ...], *, hours: float) -> Traffic:
    """Return the traffic that was compared in the last hours; figures that are too rare to be seen are those of Traffic."""
    since = dt.datetime.now(dt.UTC) - dt.timedelta(hours=hours)
    routes = {record["route"]: record for record in await conn.fetch(SELECT_SEEN, since, list(names))}
    hits = {record["kind"]: record["count"] for record in await conn.fetch(SELECT_HITS, since, list(names))}
    default = Traffic({})
    share = settings.rollout.gates.latency_quantile
    durations = Counter({record["bucket"]: record["count"] for record in await conn.fetch(SELECT_DURATIONS, since)})
    log_ratio: float | None = await conn.fetchval(SELECT_RATIO, since)

    def rate(kind: HitKind, trials: str, otherwise: float) -> float:
        count = sum(record[trials] or 0 for record in routes.values())
        return hits.get(kind.value, 0) / count if count and hits.get(kind.value) else otherwise

    return Traffic(
        per_s={route: _per_s(routes, route, hours) for route in names},
        mismatch_rate=rate(HitKind.MISMATCH, "judged", default.mismatch_rate),
        error_rates=(
            rate(HitKind.CANDIDATE_ERROR, "pairs", default.error_rates[0]),
            rate(HitKind.LEGACY_ERROR, "pairs", default.error_rates[1]),
        ),
        transient_rate=rate(HitKind.CANDIDATE_TRANSIENT, "candidate_mirrored", default.transient_rate),
        latency_ratio=default.latency_ratio if log_ratio is None else math.exp(log_ratio),
        latency_spread=_spread(durations, share),
    )


def _per_s(routes: Mapping[str, Any], route: str, hours: float) -> float:
    return routes[route]["compared"] / (hours * 3600) if route in routes else 0.0


def _spread(durations: Counter[int], share: float) -> float:
    """Estimate the error of the logarithm of the quantile for one duration: sqrt(p (1 - p)) over the density there."""
    if durations.total() < 1_000:
        return LATENCY_SPREAD
    above, below = log_quantile(durations, share + AROUND), log_quantile(durations, share - AROUND)
    return math.sqrt(share * (1 - share)) * (above - below) / (2 * AROUND)
