"""How the operator describes a table: what identifies a row by meaning, what may differ, whose request a row belongs to.

Pure. These structs are the `tables:` section of config.yaml; unknown fields are refused with their path.
"""

from typing import Final

import msgspec

ROUTE_KIND: Final = "address"
"""What the kind of the routes' keys is called where nothing else is said."""


class Struct(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of the configuration structs: frozen, and a misspelled field is an error that names its path.

    A subclass repeats `frozen=True, kw_only=True`: type checkers do not inherit the first, msgspec not the second.
    """


class AttributionKey(Struct, frozen=True, kw_only=True):
    """One way a row of this table names the ordering key of the request that wrote it.

    `kind` is the kind of key; keys match only within a kind. What a route names as its `key` is of the kind that
    `compare.route_kind` says, "address" by default; others ("nullifier") only tie rows to one another. Exactly one source:
    `column` (its text; with `path` a dotted JSON path inside it, `*` for each array element), or
    `through` (a foreign-key column: the keys of the row it references), each filtered by `regex` (group 1) if given.
    Values of the routes' kind are lower-cased, as the routes' keys are.
    """

    kind: str
    column: str = ""
    path: str = ""
    through: str = ""
    regex: str = ""


class Volatile(Struct, frozen=True, kw_only=True):
    """A column whose value may differ: within `within_ms` milliseconds for a time, or in any way if `ignore`.

    NULL against a value is always a difference.
    """

    within_ms: int | None = None
    ignore: bool = False


class JsonColumn(Struct, frozen=True, kw_only=True):
    """Rules inside a JSON column, by dotted path (`fields.pk`, `*` for any key or element).

    `references` names ids inside the document: compared by the natural key of the row of that table they point to.
    """

    ignore: tuple[str, ...] = ()
    within_ms: dict[str, int] = {}
    references: dict[str, str] = {}
    decode_text: bool = False
    """The column holds JSON text inside a JSON string."""


class Table(Struct, frozen=True, kw_only=True):
    """One table. `natural_key` columns that are in `references` are compared by the natural key of the referenced row.

    `append_only` tables are compared as multisets of meaning. `ignore_columns` (surrogate ids are ignored by themselves:
    a primary key outside the natural key). `low_confidence` marks count-dependent tables.
    """

    natural_key: tuple[str, ...]
    primary_key: tuple[str, ...] = ("id",)
    references: dict[str, str] = {}
    append_only: bool = False
    ignore_columns: tuple[str, ...] = ()
    volatile: dict[str, Volatile] = {}
    json: dict[str, JsonColumn] = {}
    keys: tuple[AttributionKey, ...] = ()
    low_confidence: bool = False


class BackgroundRule(Struct, frozen=True, kw_only=True):
    """Describes a writer that is no request: its rows never count as effects.

    A row matches when `table` is equal and, where given, the changed columns of an update are a subset of `columns`, the
    operation is in `ops`, and the transaction's application_name is `application`.
    """

    table: str
    columns: tuple[str, ...] = ()
    ops: tuple[str, ...] = ()
    application: str = ""
    reason: str = ""
