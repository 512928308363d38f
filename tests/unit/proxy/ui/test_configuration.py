"""The configuration in force: what differs from the defaults, long lists as YAML, and no secret."""

import msgspec

from comparator.settings import CompareSettings, RouteCompare, RuleSettings
from proxy.config.listen import AdminSettings
from proxy.config.rollout import NotificationSettings, RolloutSettings
from proxy.config.routes import RouteSettings
from proxy.config.settings import Settings
from proxy.ui.configuration import HIDDEN, SettingLine, sections_of, shown_sections

RULES = tuple(RuleSettings(path=f"place_{number}", ignore=True, reason="a generated id") for number in range(4))
SETTINGS = Settings(
    admin=AdminSettings(port=9902, token="s3cret"),
    routes=tuple(RouteSettings(name=f"route_{number}", path=f"/v2/{number}/{{id}}", key="id") for number in range(9)),
    rollout=RolloutSettings(notifications=NotificationSettings(slack_urls=("https://hooks.example/T0/B0/x",))),
    compare=CompareSettings(routes={"score": RouteCompare(rules=RULES), "history": RouteCompare()}),
)


def changed(wanted: str = "") -> dict[str, SettingLine]:
    return {
        line.path: line
        for section in shown_sections(sections_of(SETTINGS), "changed", wanted)
        for line in section.lines
    }


def test_only_fields_that_differ_are_shown_and_those_of_an_entry_have_its_own_defaults() -> None:
    assert list(changed()) == [
        "admin.port",
        "admin.token",
        "routes",
        "compare.routes.score.rules",
        "rollout.notifications.slack_urls",
    ]


def test_secrets_are_hidden() -> None:
    assert {changed()[path].value for path in ("admin.token", "rollout.notifications.slack_urls")} == {HIDDEN}
    assert not [line for line in changed().values() if "s3cret" in line.value or "hooks.example" in line.value]


def test_long_list_is_yaml_without_the_defaults_of_its_entries() -> None:
    line = changed()["compare.routes.score.rules"]
    assert line.entries == 4
    assert line.value.startswith("- path: place_0\n  ignore: true\n  reason: a generated id\n- path: place_1")
    assert "key: id" in changed()["routes"].value


def test_filter_takes_a_part_of_the_path_and_sections_keep_their_counts() -> None:
    assert list(changed("SLACK")) == ["rollout.notifications.slack_urls"]
    (section,) = shown_sections(sections_of(SETTINGS), "all", "admin.")
    assert (section.changed, section.total, len(section.lines)) == (2, section.total, section.total)


def test_every_field_of_the_defaults_is_a_default() -> None:
    assert [line.path for section in sections_of(Settings()) for line in section.lines if not line.is_default] == []
    assert {section.name for section in sections_of(Settings())} == set(msgspec.structs.asdict(Settings()))
