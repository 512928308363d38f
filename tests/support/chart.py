"""The Helm chart's folder and the values files that it is checked with."""

from pathlib import Path
from typing import Any, Final

import yaml

from tests.support.paths import ROOT

CHART: Final = ROOT / "deploy" / "helm" / "shadow"
VALUES_FILES: Final = tuple(sorted((CHART / "ci").glob("*.yaml")))
RELEASE: Final = "shop"
NAMESPACE: Final = "shadow"
WORKED_EXAMPLE: Final = "monitored"
"""The values file that is rendered with the repository's config.yaml as `configFile`."""


def values_of(path: Path) -> dict[str, Any]:
    """Return the values of a file in the chart's folder `ci`."""
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    if path.stem == WORKED_EXAMPLE:
        values["configFile"] = (ROOT / "config.yaml").read_text(encoding="utf-8")
    return values
