"""Rendered manifests run the image as it is, with few rights, and their parts find each other by the names in config.yaml."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import pytest
import yaml

from dashboards.generated_files import render_files
from dashboards.links import BaseUrls
from dashboards.metric_catalog import JOBS
from proxy.cli.main import build_parser
from proxy.config.loader import load
from proxy.config.settings import Settings
from proxy.config.slices import slice_settings
from proxy.rollout.accounting import MetricsPages
from proxy.serving.shipper_process import END_S
from tests.support.chart import NAMESPACE, RELEASE, VALUES_FILES, WORKED_EXAMPLE, values_of
from tests.support.paths import ROOT

RENDERED: Final = ROOT / "var" / "deploy-lint" / "manifests"
NAMES: Final = tuple(path.stem for path in VALUES_FILES)
ENVIRONMENT: Final = {
    "SHADOW_STORE_DSN": "postgresql:///store",
    "SHADOW_SHADOW_A_DSN": "postgresql:///shadow_a",
    "SHADOW_SHADOW_B_DSN": "postgresql:///shadow_b",
    "VALKEY_PASSWORD": "secret",
}
VALIDATED_KINDS: Final = {
    ("v1", "ConfigMap"),
    ("v1", "Service"),
    ("v1", "ServiceAccount"),
    ("apps/v1", "StatefulSet"),
    ("apps/v1", "Deployment"),
    ("autoscaling/v2", "HorizontalPodAutoscaler"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("policy/v1", "PodDisruptionBudget"),
}
"""Of these kubernetes-validate has schemas; it passes over what it has none of."""
OPERATOR_KINDS: Final = {
    ("monitoring.coreos.com/v1", "ServiceMonitor"),
    ("monitoring.coreos.com/v1", "PrometheusRule"),
}
RULE_FIELDS: Final = {"record", "alert", "expr", "for", "keep_firing_for", "labels", "annotations"}
GROUP_FIELDS: Final = {"name", "interval", "rules"}
SHARED: Final = {"minimal": False, "monitored": True, "scaled": True}


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def manifests(name: str) -> list[dict[str, Any]]:
    return manifests_of(name)


@cache
def manifests_of(name: str) -> list[dict[str, Any]]:
    texts = [path.read_text() for path in sorted((RENDERED / name).glob("*.yaml"))]
    return [manifest for text in texts for manifest in yaml.safe_load_all(text) if manifest]


def of_kind(manifests: list[dict[str, Any]], *kinds: str) -> list[dict[str, Any]]:
    return [manifest for manifest in manifests if manifest["kind"] in kinds]


def workloads(manifests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return of_kind(manifests, "StatefulSet", "Deployment")


def containers(manifests: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield each container with its workload."""
    for workload in workloads(manifests):
        for container in workload["spec"]["template"]["spec"]["containers"]:
            yield workload, container


def environment_of(workload: Mapping[str, Any], container: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables of a container as in the first pod of its workload."""
    values = {item["name"]: item["value"] for item in container["env"] if "value" in item}
    pod = f"{workload['metadata']['name']}-0"
    return {key: value.replace("$(POD_NAME)", pod) for key, value in values.items()} | ENVIRONMENT


def settings_of(manifests: list[dict[str, Any]], environ: Mapping[str, str]) -> Settings:
    (text,) = [one["data"]["config.yaml"] for one in of_kind(manifests, "ConfigMap") if "config.yaml" in one["data"]]
    return load(text, environ)


@cache
def settings_by_part(name: str) -> dict[str, Settings]:
    manifests = manifests_of(name)
    return {
        container["name"]: settings_of(manifests, environment_of(workload, container))
        for workload, container in containers(manifests)
    }


def runner_settings(name: str) -> list[Settings]:
    """Return the settings of each runner, of its slice where there are several."""
    manifests = manifests_of(name)
    return [
        slice_settings(settings_of(manifests, environment_of(workload, container)), "".join(container["args"][4:]))
        for workload, container in containers(manifests)
        if container["name"] == "runner"
    ]


def container_ports(container: Mapping[str, Any]) -> dict[str, int]:
    return {port["name"]: port["containerPort"] for port in container["ports"]}


def selected(manifests: list[dict[str, Any]], selector: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the workloads whose pods a selector matches."""
    return [
        workload
        for workload in workloads(manifests)
        if selector.items() <= workload["spec"]["template"]["metadata"]["labels"].items()
    ]


def ports_of(workload: Mapping[str, Any]) -> dict[str, int]:
    ports: dict[str, int] = {}
    for container in workload["spec"]["template"]["spec"]["containers"]:
        ports |= container_ports(container)
    return ports


def test_every_manifest_has_a_schema_or_is_checked_here(manifests: list[dict[str, Any]]) -> None:
    kinds = {(manifest["apiVersion"], manifest["kind"]) for manifest in manifests}

    assert kinds - VALIDATED_KINDS - OPERATOR_KINDS == set()


def test_names_are_unique_and_short(manifests: list[dict[str, Any]]) -> None:
    names = [(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests]

    assert len(set(names)) == len(names)
    assert max(len(name) for _, name in names) <= 63


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("minimal", {"shop-shadow-proxy": ["proxy", "runner", "ui"]}),
        (
            "scaled",
            {
                "shop-shadow-proxy": ["proxy"],
                "shop-shadow-runner-a": ["runner"],
                "shop-shadow-runner-b-2": ["runner"],
                "shop-shadow-ui": ["ui"],
            },
        ),
        ("monitored", {"scorer-proxy": ["proxy"], "scorer-runner": ["runner"], "scorer-ui": ["ui"]}),
    ],
    ids=["minimal", "scaled", "monitored"],
)
def test_parts_share_a_pod_only_with_a_journal_of_files(name: str, parts: dict[str, list[str]]) -> None:
    rendered = manifests_of(name)
    found: dict[str, list[str]] = {}
    for workload, container in containers(rendered):
        found.setdefault(workload["metadata"]["name"], []).append(container["name"])

    assert found == parts


def test_pods_have_few_rights(manifests: list[dict[str, Any]]) -> None:
    for workload in workloads(manifests):
        pod = workload["spec"]["template"]["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not any(pod.get(namespace) for namespace in ("hostNetwork", "hostPID", "hostIPC"))


def test_pods_run_as_the_user_of_the_image(manifests: list[dict[str, Any]]) -> None:
    (user, group) = re.findall(r"^USER (\d+):(\d+)$", (ROOT / "deploy/Containerfile").read_text(), re.MULTILINE)[0]

    for workload in workloads(manifests):
        context = workload["spec"]["template"]["spec"]["securityContext"]
        assert (context["runAsUser"], context["runAsGroup"], context["fsGroup"]) == (int(user), int(group), int(group))


def test_containers_have_few_rights_and_limits(manifests: list[dict[str, Any]]) -> None:
    for _, container in containers(manifests):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "privileged": False,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]


def test_containers_write_where_the_image_keeps_its_state(manifests: list[dict[str, Any]]) -> None:
    for workload, container in containers(manifests):
        mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
        writable = {path for path, mount in mounts.items() if not mount.get("readOnly")}
        volumes = {volume["name"] for volume in workload["spec"]["template"]["spec"]["volumes"]}
        claims = {claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", ())}

        assert writable == {"/var/lib/shadow", "/tmp"}
        assert {mount["name"] for mount in mounts.values()} <= volumes | claims
        assert container["name"] == "ui" or "state" in claims


def test_containers_start_what_there_is(manifests: list[dict[str, Any]]) -> None:
    for _, container in containers(manifests):
        assert container["args"][0] == container["name"]
        assert build_parser([container["args"][0]]).parse_args(container["args"])
        assert Path(container["args"][2]).parent in {Path(m["mountPath"]) for m in container["volumeMounts"]}


def test_file_arrives_but_for_what_the_chart_and_the_values_set() -> None:
    given = msgspec.to_builtins(load((ROOT / "config.yaml").read_text(), ENVIRONMENT))
    rendered = msgspec.to_builtins(settings_by_part(WORKED_EXAMPLE)["proxy"])
    changed = {
        f"{section}.{field}"
        for section, fields in given.items()
        for field in (fields if isinstance(fields, dict) else ())
        if rendered[section][field] != fields[field]
    }

    assert changed == {
        *("listen.host", "admin.host", "admin.hosts", "runner.host", "ui.host", "rollout.peers", "rollout.sources"),
        *("journal.driver", "journal.valkey", "admin.tls", "rollout.enabled", "ui.hosts", "ui.name"),
    }
    assert rendered["routes"] == given["routes"]


def test_sections_of_config_arrive(name: str) -> None:
    rendered = msgspec.to_builtins(settings_by_part(name)["proxy"])
    given = as_read(values_of(next(path for path in VALUES_FILES if path.stem == name))["config"])
    hosts = given.get("admin", {}).pop("hosts", [])

    assert contains(rendered, given)
    assert set(hosts) <= set(rendered["admin"]["hosts"])


def as_read(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration with `off` where YAML 1.1 has false."""
    driver = config.get("capture", {}).get("driver")
    return config | ({"capture": config["capture"] | {"driver": "off"}} if driver is False else {})


def contains(whole: Any, part: Any) -> bool:
    """Return True if a document has all members of another one; `${NAME}` stands for any text."""
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(key in whole and contains(whole[key], value) for key, value in part.items())
    if isinstance(part, list):
        return len(whole) == len(part) and all(map(contains, whole, part))
    return whole == part or (isinstance(part, str) and "${" in part)


def test_containers_open_the_ports_of_config(name: str, manifests: list[dict[str, Any]]) -> None:
    settings = settings_by_part(name)
    proxy = settings["proxy"]
    expected = {
        "proxy": {"clients": proxy.listen.port}
        | {f"control-{number}": proxy.admin.port + number for number in range(proxy.listen.workers)},
        "runner": {"runner": runner_settings(name)[0].runner.port},
        "ui": {"ui": settings["ui"].ui.port},
    }

    assert {container["name"]: container_ports(container) for _, container in containers(manifests)} == expected
    assert len({port for ports in expected.values() for port in ports.values()}) == sum(map(len, expected.values()))


def test_probes_use_ports_and_paths_that_are_served(manifests: list[dict[str, Any]]) -> None:
    for _, container in containers(manifests):
        probes = [probe["httpGet"] for key, probe in container.items() if key.endswith("Probe")]
        assert {"startupProbe", "livenessProbe"} <= container.keys()
        assert {probe["port"] for probe in probes} <= container_ports(container).keys()
        assert {probe["path"] for probe in probes} <= {"/healthz", "/readyz"}


def test_proxies_are_killed_after_their_drain(name: str, manifests: list[dict[str, Any]]) -> None:
    drain_s = settings_by_part(name)["proxy"].limits.drain_s

    for workload, container in containers(manifests):
        if container["name"] == "proxy":
            pause_s = container["lifecycle"]["preStop"]["sleep"]["seconds"]
            grace_s = workload["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
            assert grace_s >= pause_s + math.ceil(drain_s) + END_S


def pod_names(manifests: list[dict[str, Any]], part: str, domain: str) -> set[str]:
    """Return the names of all pods that run a part, as the kubelet gives them."""
    found: set[str] = set()
    for workload, container in containers(manifests):
        if container["name"] == part:
            scalers = of_kind(manifests, "HorizontalPodAutoscaler") if part == "proxy" else []
            count = scalers[0]["spec"]["maxReplicas"] if scalers else workload["spec"]["replicas"]
            service = f"{workload['spec']['serviceName']}.{NAMESPACE}.svc.{domain}"
            found |= {f"{workload['metadata']['name']}-{number}.{service}" for number in range(count)}
    return found


def domain_of(name: str) -> str:
    return values_of(next(path for path in VALUES_FILES if path.stem == name)).get("clusterDomain", "cluster.local")


def test_proxies_know_all_proxies_each_once(name: str, manifests: list[dict[str, Any]]) -> None:
    proxy = settings_by_part(name)["proxy"]
    names = pod_names(manifests, "proxy", domain_of(name))
    scheme = "https" if proxy.admin.tls else "http"
    expected = [
        f"{scheme}://{host}:{proxy.admin.port + number}/metrics"
        for host in names
        for number in range(proxy.listen.workers)
    ]

    assert sorted(MetricsPages.of(proxy).proxies) == sorted(expected)
    assert proxy.admin.host in names


def test_web_ui_finds_all_proxies_and_a_runner(name: str, manifests: list[dict[str, Any]]) -> None:
    parts = settings_by_part(name)

    assert set(MetricsPages.of(parts["ui"]).proxies) == set(MetricsPages.of(parts["proxy"]).proxies)
    hosts = {urlsplit(url).hostname for url in parts["ui"].runner.urls}
    assert hosts <= pod_names(manifests, "runner", domain_of(name))


def test_proxies_find_all_runners(name: str, manifests: list[dict[str, Any]]) -> None:
    parts = settings_by_part(name)
    names = pod_names(manifests, "runner", domain_of(name))
    runners = runner_settings(name)
    expected = {f"http://{host}:{runners[0].runner.port}/metrics" for host in names}

    assert set(MetricsPages.of(parts["proxy"]).runners) == expected
    assert {runner.runner.host for runner in runners} <= names


def test_each_slice_has_a_runner() -> None:
    runners = runner_settings("scaled")

    assert [runner.runner.slice for runner in runners] == ["a", "b_2"]
    assert len({runner.runner.host for runner in runners}) == len({runner.databases.shadow for runner in runners}) == 2


def test_other_parts_find_the_runner_of_each_slice() -> None:
    addresses = [f"http://{runner.runner.host}:{runner.runner.port}" for runner in runner_settings("scaled")]
    parts = settings_by_part("scaled")

    assert [list(parts[part].runner.urls) for part in ("proxy", "ui")] == [addresses, addresses]


def test_workloads_select_their_own_pods(manifests: list[dict[str, Any]]) -> None:
    for workload in workloads(manifests):
        assert selected(manifests, workload["spec"]["selector"]["matchLabels"]) == [workload]


def test_stateful_sets_have_their_headless_service(manifests: list[dict[str, Any]]) -> None:
    services = {service["metadata"]["name"]: service["spec"] for service in of_kind(manifests, "Service")}

    for workload in of_kind(manifests, "StatefulSet"):
        service = services[workload["spec"]["serviceName"]]
        assert service["clusterIP"] == "None"
        assert service["publishNotReadyAddresses"] is True
        assert workload in selected(manifests, service["selector"])


def test_services_lead_to_ports_of_one_part(manifests: list[dict[str, Any]]) -> None:
    for service in of_kind(manifests, "Service"):
        found = selected(manifests, service["spec"]["selector"])
        assert len({one["metadata"]["labels"]["app.kubernetes.io/component"] for one in found}) == 1
        for workload in found:
            assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports_of(workload).keys()


def test_control_service_is_a_name_that_the_control_port_takes(name: str, manifests: list[dict[str, Any]]) -> None:
    (service,) = [one for one in of_kind(manifests, "Service") if one["metadata"]["name"].endswith("-control")]

    assert f"{service['metadata']['name']}.{NAMESPACE}.svc" in settings_by_part(name)["proxy"].admin.hosts


def test_clients_keep_the_only_proxy_when_the_runner_beside_it_is_not_ready() -> None:
    for name, shared in SHARED.items():
        (clients,) = [
            service
            for service in of_kind(manifests_of(name), "Service")
            if [port["name"] for port in service["spec"]["ports"]] == ["clients"]
        ]
        assert clients["spec"]["publishNotReadyAddresses"] is not shared


def test_policies_cover_every_port_but_open_only_that_of_clients(manifests: list[dict[str, Any]]) -> None:
    covered: list[str] = []
    for policy in of_kind(manifests, "NetworkPolicy"):
        found = selected(manifests, policy["spec"]["podSelector"]["matchLabels"])
        covered += [workload["metadata"]["name"] for workload in found]
        for rule in policy["spec"]["ingress"]:
            ports = {port["port"] for port in rule["ports"]}
            assert all(ports <= ports_of(workload).keys() for workload in found)
            assert rule.get("from") or ports == {"clients"}

    assert sorted(covered) == sorted(workload["metadata"]["name"] for workload in workloads(manifests))


def test_control_ports_are_open_to_the_release_and_to_those_that_are_named() -> None:
    (policy,) = [
        one for one in of_kind(manifests_of("monitored"), "NetworkPolicy") if one["metadata"]["name"] == "scorer-proxy"
    ]
    (rule,) = [rule for rule in policy["spec"]["ingress"] if rule["ports"][0]["port"] == "control-0"]

    assert rule["from"] == [
        {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "shadow", "app.kubernetes.io/instance": RELEASE}}},
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}},
    ]


def test_one_proxy_at_a_time_is_disrupted(manifests: list[dict[str, Any]]) -> None:
    (budget,) = of_kind(manifests, "PodDisruptionBudget")
    (workload,) = selected(manifests, budget["spec"]["selector"]["matchLabels"])

    assert budget["spec"]["maxUnavailable"] == 1
    assert workload["metadata"]["name"].endswith("-proxy")


def test_scaler_leaves_the_number_of_proxies_to_itself() -> None:
    rendered = manifests_of("scaled")
    (scaler,) = of_kind(rendered, "HorizontalPodAutoscaler")
    (workload,) = [
        one for one in workloads(rendered) if one["metadata"]["name"] == scaler["spec"]["scaleTargetRef"]["name"]
    ]

    assert workload["kind"] == scaler["spec"]["scaleTargetRef"]["kind"]
    assert "replicas" not in workload["spec"]


def test_service_monitors_name_job_and_installation() -> None:
    rendered = manifests_of("monitored")
    jobs: list[str] = []
    for monitor in of_kind(rendered, "ServiceMonitor"):
        matched = monitor["spec"]["selector"]["matchLabels"].items()
        services = [one for one in of_kind(rendered, "Service") if matched <= one["metadata"]["labels"].items()]
        (service,) = services
        assert monitor["spec"]["namespaceSelector"] == {"matchNames": [NAMESPACE]}
        for endpoint in monitor["spec"]["endpoints"]:
            assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
            labels = {one["targetLabel"]: one["replacement"] for one in endpoint["relabelings"]}
            assert labels["installation"] == "production"
            jobs.append(labels["job"])

    assert set(jobs) <= set(JOBS)
    assert jobs == ["shadow-proxy", "shadow-runner"]


def test_prometheus_rules_have_every_generated_rule() -> None:
    rendered = {
        one["metadata"]["name"].removeprefix("scorer-"): one["spec"]
        for one in of_kind(manifests_of("monitored"), "PrometheusRule")
    }
    texts = render_files(BaseUrls(ui="https://shadow.example.com", grafana="https://grafana.example.com"))

    assert rendered == {name: yaml.safe_load(texts[f"{name}.rules.yml"]) for name in ("recording", "alerts")}
    for spec in rendered.values():
        for group in spec["groups"]:
            assert group.keys() <= GROUP_FIELDS
            assert all(rule.keys() <= RULE_FIELDS and "expr" in rule for rule in group["rules"])


def test_dashboards_are_those_that_are_generated() -> None:
    maps = [one for one in of_kind(manifests_of("monitored"), "ConfigMap") if "config.yaml" not in one["data"]]
    texts = render_files(BaseUrls(ui="https://shadow.example.com", grafana="https://grafana.example.com"))

    assert {name: json.loads(text) for one in maps for name, text in one["data"].items()} == {
        name: json.loads(text) for name, text in texts.items() if name.endswith(".json")
    }
    assert all(one["metadata"]["labels"]["grafana_dashboard"] == "1" for one in maps)


def test_values_file_of_the_worked_example_is_rendered() -> None:
    assert WORKED_EXAMPLE in NAMES
    assert set(NAMES) == SHARED.keys()
