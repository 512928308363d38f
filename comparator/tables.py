"""Declare the section `compare.tables` of config.yaml: row identity, tolerated columns, and the request a row belongs to. Pure."""

from typing import Final

import msgspec

from comparator.table_names import canonical_name, canonical_names

ROUTE_KIND: Final = "address"
"""Default of `compare.route_kind`: the kind of the routes' keys."""


class Struct(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of the configuration structs: frozen, and an unknown field is an error that names its path.

    A subclass repeats `frozen=True, kw_only=True`: type checkers do not inherit the first, msgspec does not inherit the second.
    """


class AttributionKey(Struct, frozen=True, kw_only=True):
    """One way in which a row of this table carries a key of the request that wrote it.

    Exactly one of `column` and `through` is given. Keys match only keys of the same kind. Keys of the routes' kind
    (`compare.route_kind`) are lower-cased, as the routes' keys are; keys of other kinds, e.g. "nullifier", only tie rows to one another.

    Attributes:
        kind: the kind of key, e.g. "address".
        column: the column whose text is the key.
        path: dotted path of the key inside a JSON `column`; `*` stands for every element. Empty: the whole column.
        through: a foreign-key column; the row has the keys of the row that it references.
        regex: regular expression whose group 1 is the key; a text without a match has no key. Empty: the whole text.
    """

    kind: str
    column: str = ""
    path: str = ""
    through: str = ""
    regex: str = ""


class Volatile(Struct, frozen=True, kw_only=True):
    """The tolerance for a column whose values may differ. NULL against a value is always a difference.

    Attributes:
        within_ms: greatest allowed distance of two times, in milliseconds, besides the time between the two runs of the request: each
            side may have read its clock at any moment between receipt and commit.
        epoch: the column counts the time since 1970 in this unit: `s`, `ms`, `us`, `ns`; only with `within_ms`.
        generated: regular expression of the parts of a text that each side generates for itself, e.g. an identifier: texts that are
            equal outside of them are allowed.
        ignore: allow any two values. Exactly one of `within_ms`, `generated` and `ignore` is given.
    """

    within_ms: int | None = None
    epoch: str = ""
    generated: str = ""
    ignore: bool = False


class JsonColumn(Struct, frozen=True, kw_only=True):
    """The rules inside of a JSON column. Paths are dotted (`fields.pk`); `*` stands for any member or element.

    Attributes:
        ignore: paths at which anything may differ.
        within_ms: greatest allowed distance of two times by path, in milliseconds.
        epoch: unit (`s`, `ms`, `us`, `ns`) by path of `within_ms`, where a number, or a text of a number, counts the time since 1970.
        generated: regular expression by path, of the parts of a text that each side generates for itself.
        unordered: paths of arrays that are compared as multisets.
        references: table by path of an id inside of the document; ids are compared by the natural key of the referenced row.
        decode_text: the column's value is a JSON string that contains a JSON document; compare the inner document.
    """

    ignore: tuple[str, ...] = ()
    within_ms: dict[str, int] = {}
    epoch: dict[str, str] = {}
    generated: dict[str, str] = {}
    unordered: tuple[str, ...] = ()
    references: dict[str, str] = {}
    decode_text: bool = False

    def __post_init__(self) -> None:
        """Give the tables their canonical names.

        Raises:
            ValueError: a text does not name a table.
        """
        msgspec.structs.force_setattr(self, "references", canonical_names(self.references))


class Table(Struct, frozen=True, kw_only=True):
    """The description of one table, by which its rows are matched between the two sides.

    Attributes:
        natural_key: columns that identify a row by meaning; a column that is in `references` stands for the natural key of the
            referenced row. Several rows may have one natural key: they are compared as a multiset.
        discriminator: columns of the natural key with few values, by which findings are told apart: an event's `action`. A row of one
            action that is missing and a row of another are then two findings, and can have two causes.
        references: referenced table by foreign-key column.
        ignore_columns: columns that are not compared.
        volatile: tolerance by column.
        json: rules by JSON column.
        keys: ways in which a row carries a key of its request.
        low_confidence: the rows depend on counts or on the order of requests; a comparison that differs only here is marked so.
    """

    natural_key: tuple[str, ...]
    discriminator: tuple[str, ...] = ()
    references: dict[str, str] = {}
    ignore_columns: tuple[str, ...] = ()
    volatile: dict[str, Volatile] = {}
    json: dict[str, JsonColumn] = {}
    keys: tuple[AttributionKey, ...] = ()
    low_confidence: bool = False

    def __post_init__(self) -> None:
        """Give the tables their canonical names.

        Raises:
            ValueError: a text does not name a table.
        """
        msgspec.structs.force_setattr(self, "references", canonical_names(self.references))


class BackgroundRule(Struct, frozen=True, kw_only=True):
    """A writer that is not a request, e.g. a nightly job: the rows that match are never effects of a request.

    A row matches when it satisfies every condition that is given.

    Attributes:
        table: the row's table.
        columns: an update changed none but these columns. Empty: any columns.
        ops: the operation is one of these: insert, update, delete, truncate. Empty: any operation.
        application: the transaction's application_name. Empty: any name.
        reason: explanation for readers of the configuration.
    """

    table: str
    columns: tuple[str, ...] = ()
    ops: tuple[str, ...] = ()
    application: str = ""
    reason: str = ""

    def __post_init__(self) -> None:
        """Give the table its canonical name.

        Raises:
            ValueError: the text does not name a table.
        """
        msgspec.structs.force_setattr(self, "table", canonical_name(self.table))
