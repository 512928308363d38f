"""Read the YAML text of config.yaml as plain data: variables filled in, every key once, bounded in size. Pure.

PyYAML alone is too lenient for a file that decides who serves clients: of two equal keys it takes the last one, and ten lines of
aliases expand to gigabytes:

    a: &a [x, x, x, x, x, x, x, x, x, x]
    b: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]        # 100 values
    c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b]        # 1,000 values, and so on

So PyYAML only composes nodes here (an alias is then a second reference to one node, which costs nothing), and `_Reader` turns nodes
into data, counting what it makes.
"""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from proxy.errors import SettingsError

TEXT_MAX: Final = 1024**2
"""Characters of a file. The repository's own config.yaml has 20,000."""
VALUES_MAX: Final = 100_000
"""Values of a document once its aliases are expanded."""
DEPTH_MAX: Final = 50

VARIABLE: Final = re.compile(
    r"\$(?P<escaped>\$\{)|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}|\$\{"
)
"""`${NAME}`, `${NAME:-default}`, `$${` for a literal `${`; a bare `${` matches too, and is an error."""

_MAPPING: Final = "tag:yaml.org,2002:map"
_SEQUENCE: Final = "tag:yaml.org,2002:seq"
_MERGE: Final = "tag:yaml.org,2002:merge"


class Unquoted(str):
    """A text that may stand for a number or a truth value: one without quotes, or one with a variable in it.

    `port: ${PORT}` has to fill an integer field, and `alpha: 1e-3` is text to YAML 1.1. `port: "8080"` is a plain `str`.
    """

    __slots__ = ()


def read_document(text: str, environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the mapping that a YAML text holds; an empty text is an empty mapping.

    Args:
        text: the content of the file.
        environ: the variables that `${NAME}` may name.

    Raises:
        SettingsError: the text is not a YAML mapping, has a key twice or expands without bound, or a variable is not set.
    """
    if len(text) > TEXT_MAX:
        raise SettingsError(f"too large: {len(text)} characters, at most {TEXT_MAX} are read")
    try:
        node: Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
        document: Any = {} if node is None else _Reader(environ).value(node, "", depth=0)
    except (yaml.YAMLError, ValueError) as error:
        # (a ValueError of the scanner: `"\\U00110000"` is no character)
        raise SettingsError("not YAML: " + str(error).replace('in "<unicode string>", ', "at ")) from error
    except RecursionError as error:
        raise SettingsError("not YAML: nested too deeply") from error
    if not isinstance(document, dict):
        raise SettingsError("not a mapping: the file has to consist of sections, such as `listen:`")
    return cast("dict[str, Any]", document)


class _Reader:
    """Turns nodes into plain data."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._scalars = yaml.SafeLoader("")
        self._count = 0

    def value(self, node: Node, place: str, *, depth: int) -> Any:
        """Return the value of a node; `place` is its path in the document, e.g. `routes[3].path`."""
        self._count += 1
        if self._count > VALUES_MAX or depth > DEPTH_MAX:
            raise SettingsError(
                f"{place or 'the file'}: too large: more than {VALUES_MAX} values or {DEPTH_MAX} levels once aliases (*NAME) are expanded"
            )
        if isinstance(node, MappingNode) and node.tag == _MAPPING:
            return self._mapping(node, place, depth + 1)
        if isinstance(node, SequenceNode) and node.tag == _SEQUENCE:
            return [self.value(item, f"{place}[{index}]", depth=depth + 1) for index, item in enumerate(node.value)]
        if isinstance(node, ScalarNode):
            return self._scalar(node, place)
        raise SettingsError(f"{place or 'the file'}: the tag {node.tag} is not supported")

    def _mapping(self, node: MappingNode, place: str, depth: int) -> dict[str, Any]:
        members: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag == _MERGE:
                # (`<<: *other`: the members of the other mapping, unless this one has them itself)
                for source in self._merged(value_node, place, depth):
                    merged = source | merged
                continue
            key = self._key(key_node, place, line)
            if key in lines:
                raise SettingsError(f"{_member(place, key)}: duplicate key, in line {lines[key]} and in line {line}")
            lines[key] = line
            members[key] = self.value(value_node, _member(place, key), depth=depth)
        return merged | members

    def _merged(self, node: Node, place: str, depth: int) -> Iterator[dict[str, Any]]:
        for source in node.value if isinstance(node, SequenceNode) else [node]:
            value = self.value(source, place, depth=depth)
            if not isinstance(value, dict):
                raise SettingsError(f"{_member(place, '<<')}: expected a mapping to merge")
            yield value

    def _key(self, node: Node, place: str, line: int) -> str:
        key = self._plain(node, place) if isinstance(node, ScalarNode) else None
        if not isinstance(key, str):
            raise SettingsError(
                f"{place or 'the file'}: the key in line {line} is not text to YAML; write it in quotes"
            )
        return key

    def _scalar(self, node: ScalarNode, place: str) -> Any:
        value = self._plain(node, place)
        if isinstance(value, float) and not math.isfinite(value):
            raise SettingsError(f"{place}: {node.value} is not a finite number")
        if not isinstance(value, str):
            return value
        filled = VARIABLE.sub(lambda match: self._variable(match, place), value)
        return Unquoted(filled) if node.style is None or filled != value else value

    def _plain(self, node: ScalarNode, place: str) -> Any:
        try:
            return self._scalars.construct_object(node)  # pyright: ignore[reportUnknownMemberType]
        except ValueError as error:
            # (a date that does not exist, or a number of too many digits)
            raise SettingsError(f"{place or 'the file'}: {error}") from error
        except (AttributeError, LookupError) as error:
            # (PyYAML takes a tag's word for it: `!!int ''`, `!!bool 7`, `!!timestamp x`)
            raise SettingsError(
                f"{place or 'the file'}: the value does not have the form of its tag {node.tag}"
            ) from error

    def _variable(self, match: re.Match[str], place: str) -> str:
        if match["escaped"]:
            return "${"
        name, default = match["name"], match["default"]
        if not name:
            raise SettingsError(
                f"{place}: `${{` begins neither ${{NAME}} nor ${{NAME:-default}}; a literal one is `$${{`"
            )
        value = self._environ.get(name) or default
        if value is None:
            raise SettingsError(
                f"{place}: the environment variable {name} is not set or empty; set it, or write ${{{name}:-default}}"
            )
        return value


def _member(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key
