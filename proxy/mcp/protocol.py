"""Messages of the Model Context Protocol over standard input and output: JSON-RPC 2.0, one message a line. Pure.

A session is `initialize`, then calls in any number. Of the protocol, tools are all that is offered: no resources, prompts or sampling.

    {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "status", "arguments": {}}}
    {"jsonrpc": "2.0", "id": 2, "result": {"content": [{"type": "text", "text": "{...}"}], "isError": false}}

Source: the specification of the protocol, revision 2025-06-18, sections Base Protocol, Lifecycle, Transports (stdio) and Tools.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, cast

import msgspec

Json = dict[str, Any]

VERSIONS: Final = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
"""Revisions that a client may ask for; of what is offered they are equal."""
PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
LINE_MAX_BYTES: Final = 1024 * 1024
"""A longer message is refused."""


class InvalidArgumentsError(Exception):
    """The arguments of a tool, or its name, are wrong; the message says what is."""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The output of a tool: JSON or text, and remarks or the error."""

    output: str
    remarks: str = ""
    failed: bool = False


class Tools(Protocol):
    """The tools of a server."""

    def described(self) -> Sequence[Json]:
        """Return the description of each tool, as `tools/list` has it."""
        ...

    def call(self, name: str, arguments: Json) -> ToolResult:
        """Run a tool.

        Raises:
            InvalidArgumentsError: the tool is unknown, or its arguments are wrong.
        """
        ...


class McpSession:
    """Answers the messages of one client.

    Args:
        tools: what is offered.
        version: of this program.
    """

    def __init__(self, tools: Tools, version: str) -> None:
        self._tools = tools
        self._version = version
        self._methods: dict[str, Callable[[Json], Json]] = {
            "initialize": self._initialize,
            "ping": lambda _: {},
            "tools/list": lambda _: {"tools": list(self._tools.described())},
            "tools/call": self._call,
        }

    def answer(self, line: bytes) -> bytes | None:
        """Return the line that answers a message, without its end; None for a notification, which has no answer."""
        if len(line) > LINE_MAX_BYTES:
            return _error(None, PARSE_ERROR, f"a message has at most {LINE_MAX_BYTES} bytes")
        try:
            message: object = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return _error(None, PARSE_ERROR, f"not JSON: {error}")
        if not isinstance(message, dict):
            return _error(None, INVALID_REQUEST, "a message is one JSON object")
        return self._answer(cast("Json", message))

    def _answer(self, message: Json) -> bytes | None:
        number, method = message.get("id"), message.get("method")
        if not isinstance(method, str):
            # (a response: this server asks nothing, so it awaits none)
            is_response = "result" in message or "error" in message
            return None if is_response else _error(number, INVALID_REQUEST, "a request has a method")
        if "id" not in message:
            return None
        if message.get("jsonrpc") != "2.0" or not isinstance(number, str | int):
            return _error(None, INVALID_REQUEST, "a request has jsonrpc 2.0, and a text or a number as its id")
        handler = self._methods.get(method)
        if handler is None:
            return _error(number, METHOD_NOT_FOUND, f"unknown method {method!r}")
        params: object = message.get("params", {})
        if not isinstance(params, dict):
            return _error(number, INVALID_PARAMS, "params is an object")
        try:
            result = handler(cast("Json", params))
        except InvalidArgumentsError as error:
            return _error(number, INVALID_PARAMS, str(error))
        return msgspec.json.encode({"jsonrpc": "2.0", "id": number, "result": result})

    def _initialize(self, params: Json) -> Json:
        asked: object = params.get("protocolVersion")
        return {
            "protocolVersion": asked if asked in VERSIONS else VERSIONS[0],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "shadow", "version": self._version},
        }

    def _call(self, params: Json) -> Json:
        name, arguments = params.get("name"), params.get("arguments", {})
        if not isinstance(name, str) or not isinstance(arguments, dict):
            raise InvalidArgumentsError("tools/call needs the name of a tool, and its arguments as an object")
        result = self._tools.call(name, cast("Json", arguments))
        texts = [text for text in (result.output, result.remarks) if text] or ["no output"]
        content = [{"type": "text", "text": text} for text in texts]
        structured = _object(result.output)
        return {"content": content, "isError": result.failed} | (
            {"structuredContent": structured} if structured is not None else {}
        )


def _object(text: str) -> Json | None:
    """Return the JSON object that a text is; None for anything else."""
    try:
        value: object = msgspec.json.decode(text.encode())
    except (msgspec.DecodeError, RecursionError):
        return None
    return cast("Json", value) if isinstance(value, dict) else None


def _error(number: object, code: int, text: str) -> bytes:
    return msgspec.json.encode({"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": text}})
