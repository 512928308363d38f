"""deploy/compose: the file is valid, its services have few rights, and it runs the image and the other files as they are.

`tests/data/compose` has the schema.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema_rs
import pytest
import yaml

from proxy.cli.main import build_parser
from proxy.config.loader import load
from tests.support.paths import ROOT

FOLDER = ROOT / "deploy/compose"
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<rest>[^}]*))?\}")
GIVEN: Mapping[str, str] = {
    "SHADOW_ADMIN_TOKEN": "token",
    "SHADOW_LEGACY_LIVE_URL": "http://host.docker.internal:8003",
    "SHADOW_LEGACY_SHADOW_URL": "http://host.docker.internal:8004",
    "POSTGRES_PASSWORD": "password",
    "GRAFANA_PASSWORD": "password",
}
"""All that the file needs of the environment."""
ONCE = {"migrate", "prepare"}
PROVISIONING = "/etc/shadow-dashboards/provisioning"


def filled(text: str) -> str:
    """Return a text with its variables filled in."""
    return VARIABLE.sub(lambda match: GIVEN.get(match["name"], match["rest"] if match["kind"] == "-" else ""), text)


TEXT = (FOLDER / "compose.yaml").read_text()
COMPOSE: Mapping[str, Any] = yaml.safe_load(filled(TEXT))
SERVICES: Mapping[str, Mapping[str, Any]] = COMPOSE["services"]
OWN = {name: service for name, service in SERVICES.items() if service["image"] == "shadow"}


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> Mapping[str, Any]:
    return SERVICES[request.param]


def mounts(service: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    """Return source, target and whether it is only read, of each volume."""
    parts = [volume.split(":") for volume in service.get("volumes", ())]
    return [(part[0], part[1], part[2:] == ["ro"]) for part in parts]


def test_file_is_valid() -> None:
    schema = json.loads((ROOT / "tests/data/compose/schema.json").read_text())
    # (`name` is younger than the schema)
    document = {key: value for key, value in COMPOSE.items() if key != "name"}

    assert [
        f"{error.instance_path}: {error.message}" for error in jsonschema_rs.validator_for(schema).iter_errors(document)
    ] == []


def test_needs_of_the_environment_only_what_is_said() -> None:
    required = {match["name"] for match in VARIABLE.finditer(TEXT) if match["kind"] != "-"}

    assert required == GIVEN.keys()
    assert all(f"${{{name}:?" in TEXT for name in required)


def test_services_have_few_rights(service: Mapping[str, Any]) -> None:
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service["user"].startswith(("0:", "root"))
    assert "privileged" not in service


def test_services_of_the_image_run_as_its_user() -> None:
    (user,) = re.findall(r"^USER (\S+)$", (ROOT / "deploy/Containerfile").read_text(), re.MULTILINE)

    assert {service["user"] for service in OWN.values()} == {user}


@pytest.mark.parametrize("name", ["proxy", "runner", "ui"])
def test_parts_start_what_there_is(name: str) -> None:
    command = OWN[name]["command"]

    assert command[0] == name
    assert build_parser([name]).parse_args(command)
    assert command[2] in {target for _, target, _ in mounts(OWN[name])}


def test_preparation_runs_commands_that_there_are() -> None:
    (shell, option, script) = SERVICES["prepare"]["entrypoint"]
    commands = [line.split() for line in script.split("&&")]

    assert (shell, option) == ("sh", "-c")
    assert [words[0] for words in commands] == ["shadow"] * 3
    assert all(build_parser([words[1]]).parse_args(words[1:]) for words in commands)


def test_ports_are_published_on_loopback_only(service: Mapping[str, Any]) -> None:
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_control_ports_are_not_published() -> None:
    published = {int(port.rpartition(":")[2]) for service in SERVICES.values() for port in service.get("ports", ())}
    settings = load((ROOT / "config.yaml").read_text(), environment_of("proxy"))

    assert published == {settings.listen.port, settings.ui.port, 9090, 3000, 5432}
    assert settings.admin.host == settings.runner.host == "127.0.0.1"


def environment_of(name: str) -> dict[str, str]:
    return dict(SERVICES[name]["environment"])


def test_configuration_of_the_worked_example_fits() -> None:
    settings = load((ROOT / "config.yaml").read_text(), environment_of("proxy"))
    scorers = [SERVICES["scorer-served"], SERVICES["scorer-shadow"]]

    assert settings.listen.host == settings.ui.host == "0.0.0.0"
    assert settings.backends.legacy.live.url == GIVEN["SHADOW_LEGACY_LIVE_URL"]
    assert settings.backends.legacy.shadow.url == GIVEN["SHADOW_LEGACY_SHADOW_URL"]
    assert [
        settings.backends.candidate.live.url,
        settings.backends.candidate.shadow.url,
    ] == [f"http://127.0.0.1:{scorer['command'][-1]}" for scorer in scorers]
    assert [settings.databases.live, settings.databases.shadow] == [
        scorer["environment"]["DATABASE_URL"] for scorer in scorers
    ]


def test_scorers_do_not_share_caches() -> None:
    urls = {SERVICES[name]["environment"]["SCORER_REDIS_URL"] for name in ("scorer-served", "scorer-shadow")}

    assert len(urls) == 2
    assert {urlsplit(url).hostname for url in urls} == {"valkey"}


def test_databases_are_made() -> None:
    names = {urlsplit(environment_of("proxy")[f"SHADOW_{name}_DSN"]).path for name in ("LIVE", "SHADOW", "STORE")}
    made = re.findall(r"CREATE DATABASE (\w+);", (FOLDER / "databases.sql").read_text())

    assert names == {
        f"/{SERVICES['postgres']['environment']['POSTGRES_DB']}",
        "/shadow",
        *(f"/{name}" for name in made),
    }
    assert "wal_level=logical" in SERVICES["postgres"]["command"]


def test_every_service_has_a_health_check() -> None:
    unchecked = {name for name, service in SERVICES.items() if service.get("healthcheck") == {"disable": True}}

    assert unchecked == {"machine", *ONCE}
    assert all("healthcheck" in service for name, service in SERVICES.items() if name not in OWN)


def test_health_urls_are_those_of_the_parts() -> None:
    settings = load((ROOT / "config.yaml").read_text(), environment_of("proxy"))
    (default,) = re.findall(r"SHADOW_HEALTH_URL=(\S+)", (ROOT / "deploy/Containerfile").read_text().split("USER")[0])
    ports = {
        name: urlsplit(service.get("environment", {}).get("SHADOW_HEALTH_URL", default)).port
        for name, service in OWN.items()
        if service.get("healthcheck") is None
    }

    assert ports == {
        "proxy": settings.admin.port,
        "runner": settings.runner.port,
        "ui": settings.ui.port,
        "scorer-served": 8001,
        "scorer-shadow": 8002,
    }


def test_prometheus_scrapes_what_listens() -> None:
    jobs = yaml.safe_load((ROOT / "dashboards/provisioning/prometheus/prometheus.yml").read_text())["scrape_configs"]
    targets = {target for job in jobs for static in job["static_configs"] for target in static["targets"]}
    settings = load((ROOT / "config.yaml").read_text(), environment_of("proxy"))
    scorers = [SERVICES[name]["environment"]["SCORER_ADMIN_PORT"] for name in ("scorer-served", "scorer-shadow")]

    assert targets == {f"127.0.0.1:{port}" for port in (settings.admin.port, settings.runner.port, *scorers)}
    assert {
        SERVICES[name]["network_mode"] for name in ("prometheus", "alertmanager", "grafana", *OWN.keys() - {"machine"})
    } == {"service:machine"}


def test_mounted_files_exist(service: Mapping[str, Any]) -> None:
    paths = [source for source, _, _ in mounts(service) if source.startswith(".")]

    assert all((FOLDER / path).exists() for path in paths)
    assert all(only_read for source, _, only_read in mounts(service) if source.startswith("."))


def test_named_volumes_are_declared_and_used() -> None:
    used = {source for service in SERVICES.values() for source, _, _ in mounts(service) if not source.startswith(".")}

    assert used == COMPOSE["volumes"].keys()


def test_provisioning_is_found_where_it_is_mounted() -> None:
    texts = [*SERVICES["prometheus"]["command"], *SERVICES["grafana"]["environment"].values()]
    named = [Path(path) for text in texts for path in re.findall(r"/etc/shadow-dashboards/\S+", text)]

    assert named
    assert all((ROOT / "dashboards" / path.relative_to("/etc/shadow-dashboards")).exists() for path in named)


def test_alertmanager_differs_from_that_of_one_machine_by_its_token() -> None:
    own = yaml.safe_load((FOLDER / "alertmanager.yml").read_text())
    other = yaml.safe_load((ROOT / "dashboards/provisioning/prometheus/alertmanager.yml").read_text())
    (webhook,) = own["receivers"][1]["webhook_configs"]
    authorization = webhook.pop("http_config")

    assert own == other
    assert authorization == {"authorization": {"credentials_file": "/run/secrets/admin-token"}}
    assert SERVICES["alertmanager"]["secrets"] == ["admin-token"]
    assert "admin-token" in COMPOSE["secrets"]
