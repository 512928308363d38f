"""Messages of the Model Context Protocol: each gets the answer that JSON-RPC and the protocol say."""

import json
from typing import Any

import pytest

from proxy.mcp.protocol import LINE_MAX_BYTES, VERSIONS, InvalidArgumentsError, McpSession, ToolResult


class EchoTools:
    """One tool that returns its arguments as JSON, or fails."""

    def described(self) -> list[dict[str, Any]]:
        return [{"name": "echo"}]

    def call(self, name: str, arguments: dict[str, Any]) -> ToolResult:
        if name != "echo":
            raise InvalidArgumentsError(f"unknown tool {name!r}")
        if "fail" in arguments:
            return ToolResult("", "it failed", failed=True)
        return ToolResult(json.dumps(arguments.get("value")), "a remark")


def answer(message: object) -> dict[str, Any] | None:
    line = message if isinstance(message, bytes) else json.dumps(message).encode()
    answered = McpSession(EchoTools(), "1.0").answer(line)
    return None if answered is None else json.loads(answered)


def request(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}


def result(method: str, **params: Any) -> dict[str, Any]:
    answered = answer(request(method, **params))
    assert answered is not None
    assert (answered["jsonrpc"], answered["id"]) == ("2.0", 7)
    return answered["result"]


@pytest.mark.parametrize(("asked", "agreed"), [*zip(VERSIONS, VERSIONS, strict=True), ("1999-01-01", VERSIONS[0])])
def test_revision_of_the_client_is_taken_if_it_is_known(asked: str, agreed: str) -> None:
    answered = result("initialize", protocolVersion=asked, capabilities={}, clientInfo={"name": "c", "version": "1"})

    assert answered == {
        "protocolVersion": agreed,
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "shadow", "version": "1.0"},
    }


def test_ping_has_an_empty_result() -> None:
    assert result("ping") == {}


def test_tools_are_listed() -> None:
    assert result("tools/list") == {"tools": [{"name": "echo"}]}


def test_object_is_given_as_text_and_structured() -> None:
    answered = result("tools/call", name="echo", arguments={"value": {"a": 1}})

    assert answered == {
        "content": [{"type": "text", "text": '{"a": 1}'}, {"type": "text", "text": "a remark"}],
        "isError": False,
        "structuredContent": {"a": 1},
    }


def test_list_is_given_as_text_alone() -> None:
    assert "structuredContent" not in result("tools/call", name="echo", arguments={"value": [1]})


def test_tool_that_fails_is_a_result_with_an_error() -> None:
    answered = result("tools/call", name="echo", arguments={"fail": True})

    assert answered == {"content": [{"type": "text", "text": "it failed"}], "isError": True}


@pytest.mark.parametrize(
    "message",
    [
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "method": "notifications/unknown", "params": {}},
        {"jsonrpc": "2.0", "id": 1, "result": {}},
    ],
)
def test_notification_and_response_get_no_answer(message: dict[str, Any]) -> None:
    assert answer(message) is None


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"{", -32700),
        (b"\xff", -32700),
        (b" " * (LINE_MAX_BYTES + 1), -32700),
        ([], -32600),
        (1, -32600),
        ({"jsonrpc": "2.0", "id": 1}, -32600),
        ({"jsonrpc": "1.0", "id": 1, "method": "ping"}, -32600),
        ({"jsonrpc": "2.0", "id": None, "method": "ping"}, -32600),
        ({"jsonrpc": "2.0", "id": 1, "method": "resources/list"}, -32601),
        ({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": []}, -32602),
        ({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {}}, -32602),
        ({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo", "arguments": 1}}, -32602),
        ({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "other"}}, -32602),
    ],
)
def test_wrong_message_gets_an_error(message: object, code: int) -> None:
    answered = answer(message)

    assert answered is not None
    assert answered["error"]["code"] == code
