"""Generates the reference of config.yaml from the settings types: every field with its path, type, unit, default and meaning.

A meaning is the string below the field, or its entry in the section `Attributes:` of the class. The source is read for them, because
neither is there at run time.
"""

import ast
import datetime as dt
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, Meta, Struct

from proxy.config.settings import Settings

UNITS = {"s": "s", "ms": "ms", "bytes": "bytes", "percent": "%", "days": "days"}
PLAIN = {bool: "true or false", int: "integer", float: "number", str: "text", dt.date: "date", NoneType: "nothing"}
KIB = 1024


@dataclass(frozen=True)
class Field:
    """A field of the configuration. `path` is e.g. `routes[].sample` or `compare.tables.NAME.keys[].kind`."""

    path: str
    name: str
    kind: Any
    default: object
    meaning: str


@dataclass(frozen=True)
class Section:
    """A mapping of the configuration: its path ("" for the whole), its type, its fields, and an earlier section that it equals."""

    path: str
    kind: type[Struct]
    fields: tuple[Field, ...]
    same_as: str


def sections() -> list[Section]:
    """Return all sections, a section before those in it; one that equals an earlier one is given without those in it."""
    found: list[Section] = []

    def add(kind: type[Struct], path: str, default: object) -> None:
        default = default if isinstance(default, kind) else None
        fields = tuple(fields_of(kind, path, default))
        same = next((one for one in found if one.kind is kind and defaults_of(one.fields) == defaults_of(fields)), None)
        found.append(Section(path, kind, fields, same.path if same else ""))
        for field in () if same else fields:
            for nested, suffix in structs_in(field.kind):
                add(nested, field.path + suffix, field.default)

    add(Settings, "", None)
    return found


def defaults_of(fields: tuple[Field, ...]) -> list[object]:
    return [field.default for field in fields]


def fields_of(kind: type[Struct], path: str, default: object) -> Iterator[Field]:
    meanings = meanings_of(kind)
    for field in msgspec.structs.fields(kind):
        value = getattr(default, field.name) if default is not None else default_of(field)
        own = f"{path}.{field.encode_name}" if path else field.encode_name
        nested = next((kind for kind, suffix in structs_in(field.type) if not suffix), None)
        meaning = meanings.get(field.name) or (summary_of(nested) if nested else "")
        yield Field(own, field.encode_name, field.type, value, meaning[:1].upper() + meaning[1:])


def default_of(field: msgspec.structs.FieldInfo) -> object:
    if field.default is not NODEFAULT:
        return field.default
    return field.default_factory() if field.default_factory is not NODEFAULT else NODEFAULT


def structs_in(kind: Any) -> list[tuple[type[Struct], str]]:
    """Return the sections that a field's type holds, each with what follows the field's path: "", "[]" or ".NAME"."""
    origin, arguments = get_origin(kind), get_args(kind)
    if isinstance(kind, type) and issubclass(kind, Struct):
        return [(kind, "")]
    if origin in (Union, UnionType):
        return [found for one in arguments for found in structs_in(one)]
    if origin is tuple:
        return [(nested, "[]" + suffix) for nested, suffix in structs_in(arguments[0])]
    if origin is dict:
        return [(nested, ".NAME" + suffix) for nested, suffix in structs_in(arguments[1])]
    return []


@cache
def class_of(kind: type[Struct]) -> ast.ClassDef:
    module = ast.parse(Path(inspect.getfile(kind)).read_text())
    return next(node for node in module.body if isinstance(node, ast.ClassDef) and node.name == kind.__name__)


def summary_of(kind: type[Struct]) -> str:
    """Return the first paragraph of a class's docstring."""
    return one_line((ast.get_docstring(class_of(kind)) or "").split("\n\n")[0])


def remarks_of(kind: type[Struct]) -> list[str]:
    """Return the paragraphs of a class's docstring between the first and `Attributes:`."""
    paragraphs = (ast.get_docstring(class_of(kind)) or "").split("Attributes:\n")[0].split("\n\n")
    return [one_line(text) for text in paragraphs[1:] if text.strip()]


def meanings_of(kind: type[Struct]) -> Mapping[str, str]:
    """Return the meanings of a type's fields by name."""
    body = class_of(kind).body
    found = attributes_section(ast.get_docstring(class_of(kind)) or "")
    for node, after in pairwise(body):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and isinstance(after, ast.Expr):
            found[node.target.id] = one_line(str(ast.literal_eval(after.value)))
    return found


def attributes_section(docstring: str) -> dict[str, str]:
    """Return the entries of a Google `Attributes:` section; `host, port: ...` is an entry for both."""
    _, _, section = docstring.partition("Attributes:\n")
    found: dict[str, str] = {}
    for entry in re.split(r"\n(?=\S)", textwrap.dedent(section.split("\n\n")[0])):
        names, _, text = entry.partition(":")
        found |= {name.strip(): one_line(text) for name in names.split(",") if text}
    return found


def one_line(text: str) -> str:
    return " ".join(text.split())


def type_of(kind: Any) -> str:
    """Return a field's type in words, with the values it takes."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return type_of(arguments[0]) + "".join(range_of(meta) for meta in arguments[1:] if isinstance(meta, Meta))
    if origin in (Union, UnionType):
        return " or ".join(type_of(one) for one in arguments)
    if origin is tuple:
        return f"list of {plural(arguments[0])}"
    if origin is dict:
        return f"mapping of text to {plural(arguments[1])}"
    if issubclass(kind, Struct):
        return "mapping"
    if issubclass(kind, Enum):
        return ", ".join(f"`{one.value}`" for one in kind)
    return PLAIN[kind]


def plural(kind: Any) -> str:
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(plural(one) for one in get_args(kind))
    text = type_of(kind)
    return text if text.startswith(("text", "`", "list")) else text.replace(",", "s,", 1) if "," in text else f"{text}s"


def range_of(meta: Meta) -> str:
    if meta.pattern:
        return f" matching `{meta.pattern}`"
    if meta.ge is not None and meta.le is not None:
        return f", {meta.ge} to {meta.le}"
    low = f"at least {meta.ge}" if meta.ge is not None else f"above {meta.gt}" if meta.gt is not None else ""
    high = f"at most {meta.le}" if meta.le is not None else f"below {meta.lt}" if meta.lt is not None else ""
    return ", " + " and ".join(part for part in (low, high) if part)


def unit_of(name: str) -> str:
    """Return the unit that a field's name ends in, "" for none."""
    parts = [part for part in name.split("_") if part not in ("max", "min")]
    return "1/s" if parts[-2:] == ["per", "s"] else UNITS.get(parts[-1], "")


def default_text(field: Field) -> str:
    value = field.default
    if value is NODEFAULT:
        return "required"
    if isinstance(value, Struct):
        return ""
    if isinstance(value, tuple):
        return f"`[{', '.join(str(one).removesuffix('.0') for one in value)}]`"
    if isinstance(value, dict):
        return "`{}`"
    if isinstance(value, bool | NoneType):
        return f"`{'null' if value is None else str(value).lower()}`"
    if isinstance(value, int | float):
        return (
            f"`{value:g}`"
            if isinstance(value, float)
            else f"`{value}`{size_of(value) if unit_of(field.name) == 'bytes' else ''}"
        )
    return f"`{value}`" if value else '`""`'


def size_of(value: int) -> str:
    for power, name in ((3, "GiB"), (2, "MiB"), (1, "KiB")):
        if value and value % KIB**power == 0:
            return f" ({value // KIB**power} {name})"
    return ""


def cell(text: str) -> str:
    """Return a text as it stands in a cell of a table."""
    return text.replace("|", r"\|").replace("<", "&lt;")


def section_text(section: Section) -> str:
    """Return a section: its heading, what it is, and the table of its fields, or the section that it equals."""
    level = 2 + min(section.path.count("."), 2)
    head = f"{'#' * level} `{section.path or 'config.yaml'}`\n\n{cell(summary_of(section.kind))}"
    if section.same_as:
        return f"{head} The fields are those of [`{section.same_as}`](#{anchor_of(section.same_as)})."
    head = "\n\n".join([head, *map(cell, remarks_of(section.kind))])
    rows = [
        f"| `{field.path}` | {cell(type_of(field.kind))} | {unit_of(field.name)} | {cell(default_text(field))} | {cell(field.meaning)} |"
        for field in section.fields
    ]
    return "\n".join([head, "", "| field | type | unit | default | meaning |", "|---|---|---|---|---|", *rows])


def anchor_of(path: str) -> str:
    """Return the anchor that a forge gives a heading."""
    return re.sub(r"[^a-z0-9_-]", "", path.lower())


def configuration() -> str:
    """Return the reference of all sections."""
    return "\n\n".join(section_text(section) for section in sections())
