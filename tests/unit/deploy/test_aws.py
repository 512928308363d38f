"""The templates for AWS: order and weights of the load balancer's rules, paths, ports and the function's environment."""

import re
from fnmatch import fnmatchcase
from typing import Any

import pytest
import yaml

from proxy.config.listen import AdminSettings, ListenSettings
from scorer import settings
from tests.support.paths import ROOT

TEMPLATES = ROOT / "deploy" / "aws"
SCORER_PATHS = re.findall(r"^\| \w+ \| `([^`]+)` \|", (ROOT / "docs" / "scorer.md").read_text(), re.MULTILINE)


class TemplateLoader(yaml.SafeLoader):
    """Reads CloudFormation's short functions as {name: argument}."""


def _function(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return {suffix: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {suffix: loader.construct_sequence(node, deep=True)}
    assert isinstance(node, yaml.MappingNode)
    return {suffix: loader.construct_mapping(node, deep=True)}


TemplateLoader.add_multi_constructor("!", _function)


def template(name: str) -> dict[str, Any]:
    return yaml.load((TEMPLATES / name).read_text(), TemplateLoader)


def rules() -> list[dict[str, Any]]:
    resources = template("load-balancer.yaml")["Resources"].values()
    return [one for one in resources if one["Type"] == "AWS::ElasticLoadBalancingV2::ListenerRule"]


def paths_of(rule: dict[str, Any]) -> list[str]:
    return [
        pattern
        for condition in rule["Properties"]["Conditions"]
        if condition["Field"] == "path-pattern"
        for pattern in condition["PathPatternConfig"]["Values"]
    ]


def test_rules_with_a_header_come_before_those_of_the_same_path_and_are_off_by_default() -> None:
    by_header = [rule for rule in rules() if len(rule["Properties"]["Conditions"]) == 2]
    by_path = [rule for rule in rules() if len(rule["Properties"]["Conditions"]) == 1]
    assert [rule["Properties"]["Priority"] for rule in by_header] == [2090, 2091, 2092, 2093]
    assert [rule["Properties"]["Priority"] for rule in by_path] == [2100, 2101, 2102, 2103]
    assert [paths_of(rule) for rule in by_header] == [paths_of(rule) for rule in by_path]
    assert {rule.get("Condition") for rule in by_header} == {"HasHeaderRules"}
    assert template("load-balancer.yaml")["Parameters"]["CandidateTargetGroupArn"]["Default"] == ""


def test_weights_send_everything_to_the_proxy_by_default_and_the_same_on_every_path() -> None:
    parameters = template("load-balancer.yaml")["Parameters"]
    assert (parameters["ProxyWeight"]["Default"], parameters["LegacyWeight"]["Default"]) == (100, 0)
    for rule in rules():
        if "Condition" not in rule:
            [action] = rule["Properties"]["Actions"]
            assert action["ForwardConfig"]["TargetGroups"] == [
                {"TargetGroupArn": {"Ref": "ProxyTargetGroup"}, "Weight": {"Ref": "ProxyWeight"}},
                {"TargetGroupArn": {"Ref": "LegacyTargetGroupArn"}, "Weight": {"Ref": "LegacyWeight"}},
            ]


@pytest.mark.parametrize("path", sorted(set(SCORER_PATHS) - {"/health", "/health/", "/health/live", "/health/ready"}))
def test_every_endpoint_of_the_scorer_has_exactly_one_rule(path: str) -> None:
    patterns = [pattern for rule in rules() if "Condition" not in rule for pattern in paths_of(rule)]
    assert len([pattern for pattern in patterns if fnmatchcase(path, pattern)]) == 1


def test_ports_are_those_of_the_configuration() -> None:
    parameters = template("load-balancer.yaml")["Parameters"]
    assert parameters["ProxyPort"]["Default"] == ListenSettings().port
    assert parameters["ProxyAdminPort"]["Default"] == AdminSettings().port


def test_function_has_what_the_scorer_needs_and_a_target_group_for_each_load_balancer() -> None:
    found = template("scorer-function.yaml")["Resources"]
    variables = found["Function"]["Properties"]["Environment"]["Variables"]
    settings.load({name: "[]" if name == "TRUSTED_IAM_ISSUERS" else "1" for name in variables})
    source = (ROOT / "scorer" / "settings.py").read_text()
    assert [name for name in variables if f'"{name}"' not in source] == []
    groups = [one for one in found.values() if one["Type"] == "AWS::ElasticLoadBalancingV2::TargetGroup"]
    assert len(groups) == 2
    assert all(one["DependsOn"] == "Permission" for one in groups)
