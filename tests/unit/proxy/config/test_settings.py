"""proxy.config.settings and proxy.config.checks: what config.yaml may say, and how a mistake is named."""

import pytest

from comparator.capture.settings import Driver
from comparator.exchanges.model import Role, Side
from proxy.config.document import read_document
from proxy.config.loader import load
from proxy.config.routes import RouteSettings
from proxy.config.runner import Resync
from proxy.config.settings import Settings
from proxy.errors import SettingsError
from proxy.serving.routing import compile_routes
from tests.support.paths import ROOT


def test_the_repositorys_own_configuration_is_valid() -> None:
    settings = load((ROOT / "config.yaml").read_text(), {})
    compile_routes(settings.routes)
    assert settings.serve.side is Side.CANDIDATE
    assert settings.backends.of(Side.LEGACY, Role.MIRRORED).url == "http://127.0.0.1:8004"


def test_broker_has_one_password() -> None:
    broker = "{url: 'valkey://broker/0', password: p, password_file: f}"
    with pytest.raises(SettingsError, match=r"^journal\.valkey: set password or password_file, not both"):
        load(f"journal: {{driver: valkey, valkey: {broker}}}\n", {})


OWN = ("backends", "routes", "compare")
"""Sections of the repository's configuration that describe the Passport API."""

OWN_FIELDS = {"post_response_wait_ms", "reports_directory"}
"""Fields that it sets: the Passport API writes its analytics after the response, and reports are kept only where a folder is named."""


@pytest.mark.parametrize("section", [name for name in Settings.__struct_fields__ if name not in OWN])
def test_the_repositorys_own_configuration_shows_the_defaults(section: str) -> None:
    own, default = getattr(load((ROOT / "config.yaml").read_text(), {}), section), getattr(Settings(), section)
    differing = {name for name in own.__struct_fields__ if getattr(own, name) != getattr(default, name)}
    assert differing <= OWN_FIELDS


@pytest.mark.parametrize("section", Settings.__struct_fields__)
def test_the_repositorys_own_configuration_has_every_section(section: str) -> None:
    assert section in read_document((ROOT / "config.yaml").read_text(), {})


def test_empty_file_is_all_defaults() -> None:
    assert load("", {}).listen.port == 8080


def test_tables_without_a_key_of_the_routes_kind_are_refused() -> None:
    tables = "compare: {tables: {users: {natural_key: [id], keys: [{kind: %s, column: id}]}}}"
    with pytest.raises(
        SettingsError, match=r"^compare\.tables: no table has a key of kind `address`.*kinds of keys: id$"
    ):
        load(tables % "id", {})
    assert load(tables % "address", {}).compare.tables["users"].keys[0].kind == "address"


def test_rules_of_an_unknown_route_are_refused() -> None:
    routes = "routes: [{name: score, methods: [GET], path: /score}]\n"
    assert load(routes + "compare: {routes: {score: {rules: []}}}", {}).compare.routes
    with pytest.raises(SettingsError, match=r"^compare\.routes\.scores: .* `scores` \(did you mean `score`\?\)"):
        load(routes + "compare: {routes: {scores: {rules: []}}}", {})


def test_kind_of_the_routes_keys_has_any_name() -> None:
    tables = "{users: {natural_key: [id], keys: [{kind: customer, column: id}]}}"
    settings = load(f"compare: {{route_kind: customer, tables: {tables}}}", {})
    assert settings.compare.route_kind == "customer"


def test_bare_off_is_the_choice_of_that_name() -> None:
    settings = load("capture: {driver: off}\nrunner: {resync: off, align: off}", {})
    assert (settings.capture.driver, settings.runner.resync, settings.runner.align) == (Driver.OFF, Resync.OFF, False)


def test_variables_come_from_the_environment() -> None:
    raw = "databases: {live: 'postgresql://u:${PASSWORD}@${HOST:-db}/x'}"
    assert load(raw, {"PASSWORD": "p"}).databases.live == "postgresql://u:p@db/x"


def test_variable_may_be_a_number() -> None:
    assert load("listen: {port: '${PORT:-8080}'}", {"PORT": "81"}).listen.port == 81


def test_variable_may_be_a_number_in_a_section_of_the_comparator() -> None:
    assert load('store: {pool_max: "${POOL:-4}"}', {"POOL": "7"}).store.pool_max == 7


def test_empty_variable_takes_its_default() -> None:
    assert load("listen: {host: '${HOST:-0.0.0.0}'}", {"HOST": ""}).listen.host == "0.0.0.0"


ROUTE = "{name: score, path: /a, methods: [GET]}"
WRONG = {
    "listen: {prot: 1}": "listen: unknown field `prot` (did you mean `port`?). Known fields: host, override_token, port",
    "listen: {port: 99999}": "listen.port: expected `int` <= 65535, got 99999",
    "lisen: {}": "the file: unknown field `lisen` (did you mean `listen`?)",
    "backends: {candidate: {live: {url: 'ftp://x'}}}": "backends.candidate.live.url: `ftp://x` is not an http",
    "backends: {legacy: {shadow: {url: 'http://x/?q'}}}": "backends.legacy.shadow.url: a backend's URL must not",
    "backends: {legacy: {live: {url: 'http://x:port'}}}": "backends.legacy.live.url: Port could not be cast",
    "listen: {trusted_networks: [10.0.0.0/8, nonsense]}": "listen.trusted_networks[1]: 'nonsense' does not appear",
    "routes: [{name: a, path: /}, {name: a, path: /x}]": "routes: duplicate route name `a`",
    "serve: {percent: 101}": "serve.percent: expected `float` <= 100.0, got 101",
    "databases: {live: '${NOT_SET}'}": "databases.live: the environment variable NOT_SET is not set",
    "routes: [{name: a, path: /, key: [1]}]": "routes[0] (a).key: expected `str`, got `list`",
    "routes: [{name: a, path: /, wirtes: skip}]": "routes[0] (a): unknown field `wirtes` (did you mean `writes`?)",
    "listen: {port: 0, workers: 2}": "listen.port: several workers need a fixed port",
    "a: [": "not YAML",
    "- 1": "not a mapping",
    "serve: {salt: 2026-02-30}": "serve.salt: day is out of range",
    "serve: {percent: " + "9" * 5000 + "}": "serve.percent: Exceeds the limit",
    "routes: &all [*all]": "routes",
    "listen: {port: 1, port: 2}": "listen.port: duplicate key",
    "compare: {tables: {users: {natural_key: [id], ignore_colums: [at]}}}": (
        "compare.tables.users: unknown field `ignore_colums` (did you mean `ignore_columns`?)"
    ),
    "compare: {tables: {users: {}}}": "compare.tables.users: the field `natural_key` is missing",
    "compare: {rules: [{path: a.b, ignor: true}]}": "compare.rules[0] (a.b): unknown field `ignor` (did you mean",
    "capture: {driver: steam}": "capture.driver: `steam` is not one of stream, sql, triggers, off (did you mean `stream`?)",
    "rollout: {steps: [0]}": "rollout.steps: group `all` needs at least two steps",
    "rollout: {steps: [0, 5, 5]}": "rollout.steps: group `all` needs at least two steps",
    "rollout: {groups: [{name: all, routes: []}]}": "rollout.groups: the name `all` is taken",
    "rollout: {groups: [{name: a, routes: []}, {name: a, routes: []}]}": "rollout.groups: duplicate group name `a`",
    "rollout: {groups: [{name: a, routes: [scores]}]}\nroutes: [" + ROUTE + "]": (
        "rollout.groups: there is no route `scores` (did you mean `score`?)"
    ),
    "rollout: {groups: [{name: a, routes: [score]}, {name: b, routes: [score]}]}\nroutes: [" + ROUTE + "]": (
        "rollout.groups: route `score` is in two groups"
    ),
    "rollout: {access: {jwt_secret: short}}": "rollout.access.jwt_secret: an HS256 secret has at least 32 bytes",
}


@pytest.mark.parametrize(("raw", "message"), WRONG.items())
def test_mistake_is_named_with_its_place(raw: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(raw, {})
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("path", "key"),
    [("no-slash", ""), ("/{a}/{a}", ""), ("/{a", ""), ("/{a}", "b"), ("/", "json:"), ("/", "cookie:x"), ("/{a-b}", "")],
)
def test_route_that_makes_no_sense_is_named(path: str, key: str) -> None:
    with pytest.raises(SettingsError, match=r"^routes\[0\] \(x\)\."):
        compile_routes([RouteSettings(name="x", path=path, key=key)])
