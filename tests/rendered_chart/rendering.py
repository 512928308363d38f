"""Render the Helm chart with each values file of its `ci` folder: the first half of `make lint-deploy`.

It runs in the environment of requirements/deploy.txt, without a cluster: `python -m tests.rendered_chart.rendering DIRECTORY` writes
`DIRECTORY/<values file>/<template>.yaml` for `kubernetes-validate` and test_manifests.py.
"""

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import helm_python  # pyright: ignore[reportMissingImports]

from tests.support.chart import CHART, NAMESPACE, RELEASE, VALUES_FILES, values_of

REFUSED: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "two proxies on one disk": ({"proxy": {"replicas": 2}}, "needs `journal.driver: valkey`"),
    "two runners on one disk": ({"runner": {"replicas": 2}}, "needs `journal.driver: valkey`"),
    "a rollout of proxies that come and go": (
        {
            "config": {"journal": {"driver": "valkey"}, "rollout": {"enabled": True}},
            "proxy": {"autoscaling": {"enabled": True}},
        },
        "cannot be enabled together with rollout.enabled",
    ),
    "a number of ports that is a variable": ({"config": {"listen": {"workers": "${N}"}}}, "no variable"),
    "a driver that is a variable": ({"configFile": "journal: {driver: '${DRIVER:-files}'}"}, "no variable"),
    "a unix socket for clients": ({"config": {"listen": {"unix": "/tmp/clients"}}}, "listen.unix"),
    "a name of more than 52 characters": (
        {
            "fullnameOverride": "s" * 40,
            "config": {
                "journal": {"driver": "valkey"},
                "runner": {"slices": [{"name": "a", "shadow": "x"}, {"name": "bcdef", "shadow": "y"}]},
            },
        },
        "set fullnameOverride",
    ),
    "a file that is not YAML": ({"configFile": "listen: ["}, "configFile: not a YAML mapping"),
    "a value that is not there": ({"proxy": {"replica": 2}}, "additional properties 'replica' not allowed"),
    "no name of the installation": ({"installation": ""}, "/installation"),
    "a peer without a selector": ({"networkPolicy": {"controlFrom": [{}]}}, "minProperties"),
}
"""Values that the chart refuses, by what is wrong with them, and a part of the message."""


def render(directory: Path) -> list[str]:
    """Write the manifests of every values file; return what Helm's linter has to say, and the refusals that did not come."""
    problems: list[str] = []
    # (a copy: what the chart reads has to be in its own folder)
    with tempfile.TemporaryDirectory() as temporary:
        chart_path = shutil.copytree(CHART, Path(temporary) / "shadow")
        with helm_python.Chart.load(chart_path) as chart:
            for path in VALUES_FILES:
                values = values_of(path)
                report = helm_python.lint(chart_path, values, strict=True)
                problems += [f"{path.name}: {error}" for error in report["errors"]]
                for name, text in chart.render(values, name=RELEASE, namespace=NAMESPACE).items():
                    target = directory / path.stem / Path(name).name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_text(text, encoding="utf-8")
            problems += [problem for title in REFUSED if (problem := _refusal_problem(chart, title))]
    return problems


def _refusal_problem(chart: Any, title: str) -> str:
    values, part = REFUSED[title]
    try:
        chart.render(values, name=RELEASE, namespace=NAMESPACE)
    except helm_python.HelmError as error:
        return "" if part in str(error) else f"{title}: refused for another reason: {error}"
    return f"{title}: was not refused"


def main() -> None:
    """Render into the folder of the first argument; exit with 1 and the problems where there are any."""
    problems = render(Path(sys.argv[1]))
    sys.stderr.writelines(f"{problem}\n" for problem in problems)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
