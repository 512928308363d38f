"""docs/: the generated parts are what the code says, and nothing is missing in them."""

import ast
import re

import pytest

from comparator.verdict import Comparator
from proxy.config.loader import read_settings
from proxy.rollout import metrics as rollout_metrics
from proxy.serving import metrics as serving_metrics
from proxy.serving.routing import compile_routes
from tests.support.docs import PARTS, part_of
from tests.support.docs_configuration import sections
from tests.support.docs_reference import METRIC_NAME, METRICS_MODULES, declared_names, metric_rows
from tests.support.paths import ROOT

PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")})
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)#:]+)(?:#([^)]*))?\)")


@pytest.mark.parametrize(("path", "name"), PARTS, ids=[f"{path}:{name}" for path, name in PARTS])
def test_generated_part_is_what_the_code_says(path: str, name: str) -> None:
    assert part_of((ROOT / path).read_text(), name) == PARTS[path, name](), "run `make docs`"


def test_every_setting_has_a_meaning() -> None:
    fields = [field for section in sections() if not section.same_as for field in section.fields]
    assert [field.path for field in fields if not field.meaning] == []


def test_every_metrics_module_is_documented() -> None:
    packages = ("comparator", "dashboards", "proxy", "scorer")
    modules = {str(path.relative_to(ROOT)) for package in packages for path in (ROOT / package).rglob("metrics.py")}
    assert {path for path in modules if not path.startswith(("tests/", "bench/"))} == {
        path for paths in METRICS_MODULES.values() for path in paths
    }


@pytest.mark.parametrize("program", METRICS_MODULES)
def test_every_declared_metric_is_documented(program: str) -> None:
    assert {row.name for row in metric_rows() if row.program == program} == declared_names(program)


@pytest.mark.parametrize("module", [serving_metrics, rollout_metrics])
def test_every_metric_constant_is_documented(module: object) -> None:
    constants = {value for name, value in vars(module).items() if name.isupper() and isinstance(value, str)}
    assert {value for value in constants if METRIC_NAME.fullmatch(value)} <= {row.name for row in metric_rows()}


def test_every_metric_has_a_meaning() -> None:
    assert [row.name for row in metric_rows() if not row.meaning.endswith(".")] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page) -> None:
    targets = [(page.parent / target, anchor) for target, anchor in LINK.findall(CODE.sub("", page.read_text()))]
    assert [str(target) for target, _ in targets if not target.exists()] == []


def test_front_page_is_short_and_tells_only_what_is_there() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 150
    assert "```mermaid" in text
    assert "make demo" in text


def test_example_of_getting_started_is_valid() -> None:
    names = ("SHADOW_LIVE_DSN", "SHADOW_SHADOW_DSN", "SHADOW_STORE_DSN")
    environ = {name: f"postgresql:///{name.lower()}" for name in names}
    settings = read_settings(ROOT / "docs" / "examples" / "orders" / "config.yaml", environ)
    Comparator(settings.compare)
    compile_routes(settings.routes)


def test_every_variable_of_the_scorer_is_documented() -> None:
    tree = ast.parse((ROOT / "scorer" / "settings.py").read_text())
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    names = {text for text in texts if re.fullmatch(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+", text) and not text.startswith("_")}
    page = (ROOT / "docs" / "scorer.md").read_text()
    assert {name for name in names if f"`{name}`" not in page} == set()


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=lambda page: page.name)
def test_named_files_exist(page) -> None:
    named = re.findall(
        r"`((?:proxy|comparator|scorer|dashboards|tests|bench|docs|requirements)/[\w/.-]+)`", page.read_text()
    )
    assert [path for path in named if not (ROOT / path).exists()] == []
