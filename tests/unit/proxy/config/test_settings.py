"""What config.yaml may say, and how a mistake is named."""

import pytest

from comparator.capture.settings import Driver
from comparator.exchanges.model import Role, Side
from proxy.config.settings import RouteSettings, load
from proxy.errors import SettingsError
from proxy.serving.routing import compile_routes
from tests.support.paths import ROOT


def test_the_repositorys_own_configuration_is_fine() -> None:
    settings = load((ROOT / "config.yaml").read_text(), {})
    compile_routes(settings.routes)
    assert settings.serve.side is Side.CANDIDATE
    assert settings.backends.of(Side.LEGACY, Role.MIRRORED).url == "http://127.0.0.1:8004"


def test_an_empty_file_is_all_defaults() -> None:
    assert load("", {}).listen.port == 8080


def test_rows_that_no_routes_key_could_be_found_in_are_refused() -> None:
    tables = "compare: {tables: {users: {natural_key: [id], keys: [{kind: %s, column: id}]}}}"
    with pytest.raises(SettingsError, match=r"no key is of kind `address`.* found: id - at `\$\.compare\.tables`"):
        load(tables % "id", {})
    assert load(tables % "address", {}).compare.tables["users"].keys[0].kind == "address"


def test_rules_of_a_route_that_does_not_exist_are_refused() -> None:
    routes = "routes: [{name: score, methods: [GET], path: /score}]\n"
    assert load(routes + "compare: {routes: {score: {rules: []}}}", {}).compare.routes
    with pytest.raises(SettingsError, match=r"no route is called scores, .* at `\$\.compare\.routes`"):
        load(routes + "compare: {routes: {scores: {rules: []}}}", {})


def test_the_kind_of_the_routes_keys_has_any_name() -> None:
    tables = "{users: {natural_key: [id], keys: [{kind: customer, column: id}]}}"
    settings = load(f"compare: {{route_kind: customer, tables: {tables}}}", {})
    assert settings.compare.route_kind == "customer"


def test_a_bare_off_is_the_word_where_it_names_a_choice() -> None:
    settings = load("capture: {driver: off}\nrunner: {resync: off, align: off}", {})
    assert (settings.capture.driver, settings.runner.resync, settings.runner.align) == (Driver.OFF, "off", False)


def test_variables_come_from_the_environment() -> None:
    raw = "databases: {live: 'postgresql://u:${PASSWORD}@${HOST:-db}/x'}"
    assert load(raw, {"PASSWORD": "p"}).databases.live == "postgresql://u:p@db/x"


def test_a_variable_may_be_a_number() -> None:
    assert load("listen: {port: '${PORT:-8080}'}", {"PORT": "81"}).listen.port == 81


def test_an_empty_variable_takes_its_default() -> None:
    assert load("listen: {host: '${HOST:-0.0.0.0}'}", {"HOST": ""}).listen.host == "0.0.0.0"


WRONG = {
    "listen: {prot: 1}": "$.listen",
    "listen: {port: 99999}": "$.listen.port",
    "lisen: {}": "lisen",
    "backends: {candidate: {live: {url: 'ftp://x'}}}": "$.backends.candidate.live.url",
    "backends: {legacy: {shadow: {url: 'http://x/?q'}}}": "$.backends.legacy.shadow.url",
    "listen: {trusted_networks: [nonsense]}": "$.listen.trusted_networks",
    "routes: [{name: a, path: /}, {name: a, path: /x}]": "$.routes",
    "serve: {percent: 101}": "$.serve.percent",
    "databases: {live: '${NOT_SET}'}": "NOT_SET is not set - at `$.databases.live`",
    "routes: [{name: a, path: /, key: [1]}]": "$.routes[0].key",
    "listen: {port: 0, workers: 2}": "$.listen.port",
    "a: [": "not YAML",
    "- 1": "Expected `object`",
    "serve: {salt: 2026-02-30}": "not YAML: day is out of range",
    "serve: {percent: " + "9" * 5000 + "}": "not YAML: Exceeds the limit",
    "routes: &all [*all]": "a part contains itself",
}


@pytest.mark.parametrize(("raw", "place"), WRONG.items())
def test_a_mistake_is_named_with_its_place(raw: str, place: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(raw, {})
    assert place in str(caught.value)


@pytest.mark.parametrize(
    ("path", "key"),
    [("no-slash", ""), ("/{a}/{a}", ""), ("/{a", ""), ("/{a}", "b"), ("/", "json:"), ("/", "cookie:x"), ("/{a-b}", "")],
)
def test_a_route_that_makes_no_sense_is_named(path: str, key: str) -> None:
    with pytest.raises(SettingsError, match=r"\$\.routes\[0\]"):
        compile_routes([RouteSettings(name="x", path=path, key=key)])
