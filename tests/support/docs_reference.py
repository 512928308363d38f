"""Generates the reference of commands, options, exit codes, endpoints and metrics from the code."""

import argparse
import ast
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from comparator.exchanges.model import Side
from comparator.metrics import ComparatorMetrics
from proxy.admin import api as admin_api
from proxy.cli.exit_codes import MEANING
from proxy.cli.main import COMMANDS, GROUPS, build_parser
from proxy.config.loader import load as load_settings
from proxy.config.rollout import GateSettings
from proxy.journal.driver import WriterCounts
from proxy.rollout import http_api
from proxy.rollout.metrics import RolloutMetrics
from proxy.runner.metrics import RunnerMetrics
from proxy.serving.metrics import Gauges, ProxyMetrics, SpoolState
from scorer.api.routes import ROUTES
from scorer.metrics import Metrics as ScorerMetrics
from tests.support.paths import ROOT

METRICS_MODULES = {
    "proxy": ("proxy/serving/metrics.py", "proxy/rollout/metrics.py"),
    "runner": ("proxy/runner/metrics.py", "comparator/metrics.py"),
    "scorer": ("scorer/metrics.py",),
}
"""The modules that declare metrics, by the program whose page has them."""
METRIC_NAME = re.compile(r"(shadow|scorer)_[a-z][a-z0-9_]*")

CONTROL_PORT = {
    ("GET", "/metrics"): ("none", "Metrics in Prometheus' text format."),
    ("GET", "/healthz"): ("none", "200 while the event loop runs."),
    ("GET", "/readyz"): ("none", "200 while new clients are accepted, 503 while draining."),
    ("GET", "/status"): (
        "none",
        "Counts, backends, configuration, switch and rollout as JSON; `shadow status` shows it.",
    ),
    ("POST", "/rollback"): (
        "operator or break-glass",
        "Serve from the legacy at once; takes effect before it is stored.",
    ),
    ("POST", "/resume"): ("operator", "End a pause or a rollback."),
    ("POST", "/promote"): ("operator", "Go to the next step; `force` passes closed gates, and is recorded."),
    ("POST", "/pause"): ("operator", "Stay at the present step."),
    ("GET", "/rollout"): ("viewer", "Groups, steps and phases."),
    ("GET", "/rollout/gates"): ("viewer", "Evaluate the gates of `?group=` now."),
    ("GET", "/rollout/rollback-impact"): ("viewer", "What a rollback would lose now."),
    ("GET", "/rollout/history"): ("viewer", "The audit log; `?limit=` newest entries."),
    ("GET", "/rollout/state"): ("viewer", "The states of this process, for peers."),
    ("POST", "/rollout/state"): ("operator or break-glass", "Rollbacks of a peer."),
    ("POST", "/alertmanager"): (
        "operator or break-glass",
        "Alertmanager's webhook: a firing alert with the label rolls back, or pauses, which needs an operator.",
    ),
    ("GET", "/argo"): ("viewer", "Web metric of Argo Rollouts: `result.good`, `result.bad`."),
    ("POST", "/flagger/{hook}"): (
        "viewer",
        "Flagger's webhooks `confirm`, `check` and `rollback`: 200 is yes, 403 is no.",
    ),
}
"""Access and meaning of each endpoint of the control port; one that is missing here fails the test."""


def table(*rows: tuple[str, ...]) -> str:
    """Return a table; the first row is its head."""
    head, *body = rows
    lines = [head, ("---",) * len(head), *body]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)


def commands() -> str:
    """Return the table of commands, by what one wants to do."""
    rows = [(title, f"`shadow {entry.name}`", entry.help) for title, entries in GROUPS.items() for entry in entries]
    return table(("to", "command", "does"), *rows)


def options() -> str:
    """Return the options of each command, as `--help` prints them."""
    parser = build_parser([entry.name for entry in COMMANDS if entry.module])
    children = cast("Mapping[str, argparse.ArgumentParser]", subparsers(parser))
    return "\n\n".join(
        command_text(f"shadow {entry.name}", entry.help, children[entry.name]) for entry in COMMANDS if entry.module
    )


def subparsers(parser: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser]:
    actions = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return actions[0].choices if actions else {}


def command_text(name: str, text: str, parser: argparse.ArgumentParser) -> str:
    parts = [f"### `{name}`", f"{text[0].upper()}{text[1:]}."]
    if rows := option_rows(parser):
        parts.append(table(("argument", "meaning"), *rows))
    if parser.epilog:
        parts.append(parser.epilog)
    summaries = {choice.dest: choice.help or "" for choice in choices_of(parser)}
    for action, child in subparsers(parser).items():
        parts.append(f"#### `{name} {action}`")
        parts.append(f"{summaries[action][:1].upper()}{summaries[action][1:]}.")
        if rows := option_rows(child):
            parts.append(table(("argument", "meaning"), *rows))
    return "\n\n".join(parts)


def choices_of(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    actions = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return actions[0]._choices_actions if actions else []


def option_rows(parser: argparse.ArgumentParser) -> list[tuple[str, ...]]:
    shown = [
        action
        for action in parser._actions
        if action.help is not argparse.SUPPRESS
        and not isinstance(action, argparse._SubParsersAction | argparse._HelpAction)
    ]
    return [(f"`{usage_of(action)}`", help_of(parser, action)) for action in shown]


def usage_of(action: argparse.Action) -> str:
    value = (
        ""
        if action.nargs == 0
        else str(action.metavar or (action.choices and "|".join(map(str, action.choices))) or action.dest.upper())
    )
    if not action.option_strings:
        return str(action.metavar or action.dest)
    return f"{', '.join(action.option_strings)} {value}".strip()


def help_of(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    text = action.help or ""
    return text % {"default": action.default, "prog": parser.prog, "dest": action.dest} if "%" in text else text


def exits() -> str:
    """Return the table of exit codes."""
    return table(
        ("code", "name", "means"), *((str(code.value), code.name, meaning) for code, meaning in MEANING.items())
    )


def known_differences() -> str:
    """Return the table of what the scorer does differently on purpose, as config.yaml declares it."""
    declared = load_settings((ROOT / "config.yaml").read_text(), os.environ).compare.known_differences
    rows = [(f"`{one.name}`", one.instead, f"{one.reason[:1].upper()}{one.reason[1:]}.") for one in declared]
    return table(("name", "what it does instead", "reason"), *rows)


def scorer_endpoints() -> str:
    """Return the table of the scorer's endpoints."""
    rows = [(route.method, f"`{plain(route.path)}`", route.auth.value.partition("-")[0]) for route in ROUTES]
    return table(("method", "path", "authentication"), *rows)


def control_endpoints() -> str:
    """Return the table of the control port's endpoints."""
    rows = [(method, f"`{path}`", *CONTROL_PORT[method, path]) for method, path in control_routes()]
    return table(("method", "path", "access", "meaning"), *rows)


def control_routes() -> list[tuple[str, str]]:
    """Return method and path of every route of the control port."""
    app = admin_api.build(registry=CollectorRegistry(), switch=cast("Any", None), view=cast("Any", None))
    http_api.mount(app, cast("Any", None))
    routes = [(route.method, resource_of(route)) for route in app.router.routes()]
    return [(method, plain(path)) for method, path in routes if method != "HEAD"]


def resource_of(route: web.AbstractRoute) -> str:
    assert route.resource is not None
    info = route.resource.get_info()
    return str(info.get("path") or info.get("formatter"))


def plain(path: str) -> str:
    """Return a path without the patterns of its parameters, which may hold slashes."""
    return re.sub(r"\{(\w+):[^}]*\}", r"{\1}", path)


@dataclass(frozen=True)
class MetricRow:
    """A metric of a program's page."""

    name: str
    program: str
    kind: str
    labels: tuple[str, ...]
    meaning: str


def metrics() -> str:
    """Return the table of all metrics."""
    rows = [
        (f"`{row.name}`", row.program, row.kind, ", ".join(f"`{label}`" for label in row.labels), row.meaning)
        for row in metric_rows()
    ]
    return table(("metric", "of", "kind", "labels", "meaning"), *rows)


def metric_rows() -> Iterator[MetricRow]:
    """Return every metric of every program."""
    for program, collectors in collectors_by_program().items():
        for collector in collectors:
            for metric in families_of(collector):
                labels = tuple(getattr(collector, "_labelnames", None) or getattr(metric, "_labelnames", ()))
                yield MetricRow(name_of(metric), program, metric.type, labels, metric.documentation)


def collectors_by_program() -> Mapping[str, list[Collector]]:
    """Return the objects that make each program's page."""
    runner, scorer = CollectorRegistry(), CollectorRegistry()
    RunnerMetrics(runner)
    ComparatorMetrics(runner, ["route"])
    ScorerMetrics(scorer)
    return {
        "proxy": [proxy_metrics(), rollout_metrics()],
        "runner": list(runner._collector_to_names),
        "scorer": list(scorer._collector_to_names),
    }


def proxy_metrics() -> ProxyMetrics:
    made = ProxyMetrics()
    made.gauges = Gauges(
        in_flight=lambda: 0,
        client_connections=lambda: 0,
        backend_connections=lambda: dict.fromkeys(Side, 0),
        candidate_share=lambda: 0.0,
        rolled_back=lambda: False,
        journal=WriterCounts,
        spool=SpoolState,
        backend_health=lambda: dict.fromkeys(Side, (True, False)),
    )
    return made


def rollout_metrics() -> RolloutMetrics:
    replica = SimpleNamespace(configured={}, connected=True, pending={})
    return RolloutMetrics(cast("Any", replica), GateSettings(), dict, lambda: 0)


def families_of(collector: Collector) -> list[Metric]:
    describe = getattr(collector, "describe", None)
    return list(describe() if describe and hasattr(collector, "_labelnames") else collector.collect())


def name_of(metric: Metric) -> str:
    return metric.name + ("_total" if metric.type == "counter" else "")


def declared_names(program: str) -> set[str]:
    """Return every metric name that stands as text in the metrics modules of a program."""
    trees = [ast.parse((ROOT / path).read_text()) for path in METRICS_MODULES[program]]
    texts = {node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    return {text for text in texts if isinstance(text, str) and METRIC_NAME.fullmatch(text)}


def example_config() -> str:
    """Return the configuration of the example as a block of code."""
    return f"```yaml\n{(ROOT / 'docs' / 'examples' / 'orders' / 'config.yaml').read_text().rstrip()}\n```"
