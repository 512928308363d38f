"""Writes the tables of README.md from the code: `python -m tests.support.readme`, or `make readme`."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from comparator.metrics import ComparatorMetrics
from proxy.cli.exit_codes import MEANING
from proxy.cli.main import COMMANDS, SCORER_COMMANDS
from proxy.runner.metrics import RunnerMetrics
from proxy.serving.metrics import ProxyMetrics
from scorer.api.routes import ROUTES
from scorer.metrics import Metrics as ScorerMetrics

README = Path(__file__).parents[2] / "README.md"


def commands() -> str:
    rows = [f"| `shadow {one.name}` | {one.help} |" for one in COMMANDS]
    rows += [f"| `shadow {name}` | {text} |" for name, (text, _) in SCORER_COMMANDS.items()]
    return "\n".join(["| command | what it does |", "|---|---|", *rows])


def exits() -> str:
    rows = [f"| {code.value} | {meaning} |" for code, meaning in MEANING.items()]
    return "\n".join(["| exit code | means |", "|---|---|", *rows])


def endpoints() -> str:
    rows = [f"| {route.method} | `{plain(route.path)}` | {route.auth.value.partition('-')[0]} |" for route in ROUTES]
    return "\n".join(["| method | path | authentication |", "|---|---|---|", *rows])


def plain(path: str) -> str:
    """A path without the patterns of its parameters, which may hold slashes."""
    return re.sub(r"\{(\w+):[^}]*\}", r"{\1}", path)


def metrics() -> str:
    found: list[tuple[str, Metric]] = []
    for program, collected in families().items():
        found += [(program, metric) for metric in collected]
    rows = [f"| `{name_of(metric)}` | {program} | {metric.documentation} |" for program, metric in found]
    return "\n".join(["| metric | of | meaning |", "|---|---|---|", *rows])


def families() -> Mapping[str, list[Metric]]:
    """The metrics of each program."""
    runner, scorer = CollectorRegistry(), CollectorRegistry()
    RunnerMetrics(runner)
    ComparatorMetrics(runner, ["route"])
    ScorerMetrics(scorer)
    return {"proxy": list(ProxyMetrics().collect()), "runner": list(runner.collect()), "scorer": list(scorer.collect())}


def name_of(metric: Metric) -> str:
    return metric.name + ("_total" if metric.type == "counter" else "")


SECTIONS: Mapping[str, Callable[[], str]] = {
    "commands": commands,
    "exits": exits,
    "endpoints": endpoints,
    "metrics": metrics,
}


def section_of(text: str, name: str) -> str:
    return text.split(f"<!-- {name} -->\n")[1].split(f"\n<!-- /{name} -->", maxsplit=1)[0]


def main() -> None:
    text = README.read_text()
    for name, write in SECTIONS.items():
        before, rest = text.split(f"<!-- {name} -->\n")
        text = f"{before}<!-- {name} -->\n{write()}\n<!-- /{name} -->" + rest.split(f"<!-- /{name} -->")[1]
    README.write_text(text)


if __name__ == "__main__":
    main()
