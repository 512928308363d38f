"""Tools become commands: only their own parameters, and no value becomes an option."""

from typing import Any

import pytest

from proxy.cli.main import COMMANDS, build_parser
from proxy.mcp.protocol import InvalidArgumentsError
from proxy.mcp.tools import READING, ROLLBACK, Parameter, Tool, offered

TOOLS = {tool.name: tool for tool in offered(with_rollback=True)}
VALUES = {"id": "4be1c0a2f7", "route": "v2", "state": "new", "limit": 5, "days": 2, "reason": "slow", "group": "all"}


def filled(tool: Tool) -> dict[str, Any]:
    return {parameter.name: VALUES[parameter.name] for parameter in tool.parameters}


@pytest.mark.parametrize("tool", TOOLS.values(), ids=lambda tool: tool.name)
def test_every_tool_is_a_command_with_all_of_its_parameters(tool: Tool) -> None:
    parser = build_parser(tool.command[:1])

    args = parser.parse_args(tool.words(filled(tool), "other.yaml"))

    assert args.command in {entry.name for entry in COMMANDS}
    assert str(args.config) == "other.yaml"
    assert args.json


def test_tools_are_read_only_but_for_the_rollback() -> None:
    assert [tool.name for tool in TOOLS.values() if tool.writes] == ["rollback"]
    assert [tool.name for tool in offered(with_rollback=False) if tool.writes] == []
    assert {tool.command[0] for tool in READING} == {"status", "doctor", "causes", "findings", "history", "rollback"}
    assert {tool.command[1] for tool in READING if tool.command[0] in {"causes", "findings"}} == {"list", "show"}
    assert [tool.command for tool in READING if tool.command[0] == "rollback"] == [("rollback", "--dry-run", "--json")]


def test_rollback_needs_a_reason() -> None:
    with pytest.raises(InvalidArgumentsError, match="rollback needs reason"):
        ROLLBACK.words({}, "config.yaml")


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("finding_show", {}, "needs id"),
        ("finding_show", {"id": "--config=x"}, "not an id"),
        ("finding_show", {"id": "-h"}, "not an id"),
        ("finding_show", {"id": 7}, "is a text"),
        ("finding_show", {"id": "a", "rules": "x"}, "no parameter rules"),
        ("findings_list", {"limit": "5"}, "is a number"),
        ("findings_list", {"limit": True}, "is a number"),
        ("findings_list", {"limit": 0}, "is a number"),
        ("findings_list", {"state": "gone"}, "is one of"),
        ("findings_list", {"route": "x" * 2000}, "at most"),
    ],
)
def test_wrong_argument_is_refused(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentsError, match=message):
        TOOLS[name].words(arguments, "config.yaml")


def test_text_that_looks_like_an_option_stays_the_value_of_its_own() -> None:
    words = TOOLS["rollback"].words({"reason": "--group=other"}, "config.yaml")

    args = build_parser(["rollback"]).parse_args(words)

    assert (args.reason, args.group) == ("--group=other", "")


def test_schema_names_types_and_limits() -> None:
    assert Parameter("limit", "about", kind="integer").schema == {
        "type": "integer",
        "description": "about",
        "minimum": 1,
        "maximum": 1000,
    }
    assert TOOLS["finding_show"].document["inputSchema"]["required"] == ["id"]
