"""The tools that an assistant is offered, each as the command that it runs. Pure.

    findings_list {"route": "v2_score", "limit": 5}    shadow findings list --json --route=v2_score --limit=5 --config=config.yaml

All but `rollback` read only. A value never becomes an option of its own: options are written `--name=value`, and an id that begins with
a dash is refused.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from proxy.mcp.protocol import InvalidArgumentsError

_ID: Final = re.compile(r"[0-9A-Za-z_][0-9A-Za-z_.:-]{0,199}")
TEXT_MAX: Final = 1_000
LIMIT_MAX: Final = 1_000
STATES: Final = ("new", "regressed", "acknowledged", "fixed")


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a tool.

    Attributes:
        name: its name, and that of the command's option.
        description: its meaning.
        kind: `string` or `integer`.
        required: it has to be given.
        positional: it is the command's argument, an id, and not an option.
        choices: the values that it may have; empty for any.
    """

    name: str
    description: str
    kind: str = "string"
    required: bool = False
    positional: bool = False
    choices: tuple[str, ...] = ()

    @property
    def schema(self) -> dict[str, Any]:
        """Its JSON Schema."""
        limits: dict[str, Any] = (
            {"minimum": 1, "maximum": LIMIT_MAX} if self.kind == "integer" else {"maxLength": TEXT_MAX}
        )
        choices = {"enum": list(self.choices)} if self.choices else {}
        return {"type": self.kind, "description": self.description} | limits | choices

    def words(self, value: object) -> list[str]:
        """Return the words of the command line for a value.

        Raises:
            InvalidArgumentsError: it cannot have this value.
        """
        if self.kind == "integer":
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= LIMIT_MAX:
                raise InvalidArgumentsError(f"{self.name} is a number from 1 to {LIMIT_MAX}")
        elif not isinstance(value, str) or len(value) > TEXT_MAX or "\0" in value:
            raise InvalidArgumentsError(f"{self.name} is a text of at most {TEXT_MAX} characters")
        elif self.choices and value not in self.choices:
            raise InvalidArgumentsError(f"{self.name} is one of {', '.join(self.choices)}")
        elif self.positional and not _ID.fullmatch(value):
            raise InvalidArgumentsError(f"{self.name} is not an id: {value[:50]!r}")
        return [str(value)] if self.positional else [f"--{self.name}={value}"]


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool.

    Attributes:
        name: as the assistant calls it.
        description: when to use it.
        command: words of the command that it runs.
        parameters: of the tool.
        writes: it changes what clients are served by.
    """

    name: str
    description: str
    command: tuple[str, ...]
    parameters: tuple[Parameter, ...] = ()
    writes: bool = False

    @property
    def document(self) -> dict[str, Any]:
        """Its description in `tools/list`."""
        return {
            "name": self.name,
            "description": self.description,
            "inputSchema": {
                "type": "object",
                "properties": {parameter.name: parameter.schema for parameter in self.parameters},
                "required": [parameter.name for parameter in self.parameters if parameter.required],
                "additionalProperties": False,
            },
            "annotations": {
                "readOnlyHint": not self.writes,
                "destructiveHint": self.writes,
                "idempotentHint": True,
                "openWorldHint": False,
            },
        }

    def words(self, arguments: dict[str, Any], config: str) -> list[str]:
        """Return the words of the command line.

        Raises:
            InvalidArgumentsError: the arguments are not those of the tool.
        """
        known = {parameter.name for parameter in self.parameters}
        if unknown := sorted(arguments.keys() - known):
            raise InvalidArgumentsError(f"{self.name} has no parameter {', '.join(unknown)}")
        words = list(self.command)
        for parameter in self.parameters:
            if arguments.get(parameter.name) is not None:
                words += parameter.words(arguments[parameter.name])
            elif parameter.required:
                raise InvalidArgumentsError(f"{self.name} needs {parameter.name}")
        return [*words, f"--config={config}"]


_ROUTE: Final = Parameter("route", "only those that show on this route of config.yaml")
_STATE: Final = Parameter("state", "only those in this state", choices=STATES)
_LIMIT: Final = Parameter("limit", "the number of entries at most", kind="integer")
_DAYS: Final = Parameter("days", "count the last days only", kind="integer")


def _id(noun: str) -> Parameter:
    return Parameter("id", f"id of the {noun}, from the list", required=True, positional=True)


READING: Final = (
    Tool(
        "status",
        "Who serves, proxy by proxy; whether every exchange is accounted for; match rate with its denominator; causes of mismatches; latency."
        " Begin here.",
        ("status", "--json"),
    ),
    Tool(
        "doctor",
        "Everything that is wrong or unusual in the installation, in the order to mend it, each with what mends it.",
        ("doctor", "--json"),
    ),
    Tool(
        "causes_list",
        "Causes of mismatches: what one fault of the candidate makes differ over fields, tables and routes. New and regressed ones first.",
        ("causes", "list", "--json"),
        (_ROUTE, _STATE, _LIMIT, _DAYS),
    ),
    Tool(
        "cause_show",
        "One cause with its findings and its clearest examples: request, responses and rows of both sides, secrets redacted.",
        ("causes", "show", "--json"),
        (_id("cause"),),
    ),
    Tool(
        "findings_list",
        "Findings: clusters of like differences at one place, the details of causes.",
        ("findings", "list", "--json"),
        (_ROUTE, _STATE, _LIMIT),
    ),
    Tool(
        "finding_show",
        "One finding with its examples: request, responses and rows of both sides, secrets redacted.",
        ("findings", "show", "--json"),
        (_id("finding"),),
    ),
    Tool(
        "rollout_history",
        "The audit log of the rollout, one entry a line: who promoted, paused, resumed or rolled back, why, and the evidence then.",
        ("history", "--json"),
        (_LIMIT,),
    ),
    Tool(
        "rollback_preview",
        "What a rollback would cost now: whether the legacy is healthy, and which rows the candidate wrote differently. Changes nothing.",
        ("rollback", "--dry-run", "--json"),
    ),
)

ROLLBACK: Final = Tool(
    "rollback",
    "Serve every client from the legacy, at once, until an operator resumes. Only when a person has asked for it; preview it first.",
    ("rollback", "--json"),
    (
        Parameter("reason", "the reason, for the audit log", required=True),
        Parameter("group", "one route group instead of all"),
    ),
    writes=True,
)


def offered(*, with_rollback: bool) -> Sequence[Tool]:
    """Return the tools that are offered."""
    return (*READING, ROLLBACK) if with_rollback else READING
