"""`shadow mcp`: offer the queries of the commands to an assistant, by the Model Context Protocol over standard input and output."""

import argparse
import contextlib
import io
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from proxy.cli.exit_codes import MEANING, Exit
from proxy.cli.output import add_config_option, print_remark
from proxy.config.loader import read_settings
from proxy.config.settings import Settings
from proxy.errors import AccessDeniedError, SettingsError
from proxy.mcp.protocol import LINE_MAX_BYTES, InvalidArgumentsError, McpSession, ToolResult
from proxy.mcp.tools import Tool, offered
from proxy.rollout.auth import Authorizer, Credentials, Permission

TOKEN: Final = "SHADOW_TOKEN"  # noqa: S105 (the name of a variable)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_config_option(parser)
    parser.add_argument(
        "--allow-rollback",
        action="store_true",
        help=f"offer a rollback too; needs the token of an operator in {TOKEN}, and an installation that checks tokens",
    )


def run(args: argparse.Namespace) -> int:
    """Answer until the standard input ends.

    Raises:
        SettingsError: the configuration is wrong, or a rollback is to be offered without the token of an operator.
    """
    from proxy.cli.main import version  # noqa: PLC0415 (it imports the commands, this one among them)

    settings = read_settings(args.config)
    if args.allow_rollback:
        check_operator(settings, os.environ)
    tools = CommandTools(offered(with_rollback=args.allow_rollback), str(args.config), settings)
    session, output = McpSession(tools, version()), sys.stdout
    print_remark(f"tools: {', '.join(tool['name'] for tool in tools.described())}")
    while line := sys.stdin.buffer.readline(LINE_MAX_BYTES + 2):
        if not line.endswith(b"\n") and len(line) > LINE_MAX_BYTES:
            _skip_line()
        if line.strip() and (answer := session.answer(line.rstrip(b"\r\n"))) is not None:
            output.write(answer.decode() + "\n")
            output.flush()
    return Exit.DONE


def _skip_line() -> None:
    """Read to the end of a line that is too long."""
    while part := sys.stdin.buffer.readline(LINE_MAX_BYTES):
        if part.endswith(b"\n"):
            return


def check_operator(settings: Settings, environ: Mapping[str, str]) -> None:
    """Make sure that the token in the environment may roll back, and is needed for it.

    Raises:
        SettingsError: everyone may roll back here, or the token may not.
    """
    authorizer = Authorizer(settings.rollout.access, settings.admin.token, now=time.monotonic)
    if authorizer.unrestricted:
        raise SettingsError(
            "a rollback is offered only where a token decides about it: set admin.token or rollout.access"
        )
    try:
        authorizer.grant(Credentials(environ.get(TOKEN, ""), "mcp"), Permission.ROLL_BACK)
    except AccessDeniedError as error:
        raise SettingsError(f"{TOKEN} does not allow a rollback: {error}") from error


class CommandTools:
    """Tools that run commands of this program.

    Args:
        tools: what is offered.
        config: the configuration that the commands read.
        settings: of that configuration, for the rights of a rollback.
    """

    def __init__(self, tools: Sequence[Tool], config: str, settings: Settings) -> None:
        self._tools = {tool.name: tool for tool in tools}
        self._config = config
        self._settings = settings

    def described(self) -> Sequence[dict[str, Any]]:
        """Return the description of each tool."""
        return [tool.document for tool in self._tools.values()]

    def call(self, name: str, arguments: dict[str, Any]) -> ToolResult:
        """Run the command of a tool; its exit code is among the remarks, unless it is 0.

        Raises:
            InvalidArgumentsError: the tool is unknown, or its arguments are wrong.
        """
        tool = self._tools.get(name)
        if tool is None:
            raise InvalidArgumentsError(f"unknown tool {name!r}")
        words = tool.words(arguments, self._config)
        if tool.writes:
            try:
                check_operator(self._settings, os.environ)
            except SettingsError as error:
                return ToolResult("", str(error), failed=True)
        return _run_command(words)


def _run_command(words: Sequence[str]) -> ToolResult:
    """Run a command in this process, with its output kept from the protocol's."""
    from proxy.cli.main import main  # noqa: PLC0415 (it imports the commands, this one among them)

    output, remarks = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(remarks):
        try:
            code = main(words)
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else Exit.USAGE
    lines = [remarks.getvalue().strip()]
    if code != Exit.DONE:
        lines.append(f"exit code {code}: {MEANING.get(Exit(code), '')}")
    text = output.getvalue().strip()
    return ToolResult(text, "\n".join(filter(None, lines)), failed=not text and code != Exit.DONE)
