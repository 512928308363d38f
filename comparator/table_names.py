"""Name tables as the configuration does: one text for schema and relation, one spelling for each table. Pure.

    score            table score in schema public
    billing.invoice  table invoice in schema billing
    "v1.2".score     table score in schema v1.2
    "a.b"            table a.b in schema public
    Odd name         table "Odd name" in schema public: nothing is folded to lower case
    "a ""b"" c"      table a "b" c in schema public

Only a part with a dot or a double quote needs quotes; a quote inside of them is doubled, as in SQL. `public.score` and `"score"` are
other spellings of `score`; the configuration may use them, everything behind it uses the canonical one.
"""

import re
from collections.abc import Mapping
from typing import Final

_PART: Final = re.compile(r'"((?:[^"]|"")+)"|([^".]+)')
PUBLIC: Final = "public"


def table_name(schema: str, relation: str) -> str:
    """Return the canonical name of a table."""
    return _part(relation) if schema == PUBLIC else f"{_part(schema)}.{_part(relation)}"


def split_name(table: str) -> tuple[str, str]:
    """Split a name, canonical or not, into schema and relation.

    Raises:
        ValueError: the text is not the name of a table; the message says how names are written.
    """
    parts: list[str] = []
    at = 0
    while at <= len(table):
        match = _PART.match(table, at)
        if match is None:
            break
        quoted, plain = match.groups()
        parts.append(quoted.replace('""', '"') if quoted else plain)
        at = match.end()
        if at == len(table) and len(parts) <= 2:
            return (parts[0], parts[1]) if len(parts) == 2 else (PUBLIC, parts[0])
        if table[at : at + 1] != ".":
            break
        at += 1
    raise ValueError(
        f"{table!r} does not name a table: write `table` or `schema.table`, and put a part with a dot or a quote in "
        'double quotes, as SQL does: `"a.b"."c"`'
    )


def canonical_name(table: str) -> str:
    """Return the canonical spelling of a name.

    Raises:
        ValueError: as `split_name`.
    """
    return table_name(*split_name(table))


def canonical_names(tables: Mapping[str, str]) -> dict[str, str]:
    """Return the mapping with canonical names of tables as its values.

    Raises:
        ValueError: as `split_name`.
    """
    return {key: canonical_name(table) for key, table in tables.items()}


def _part(identifier: str) -> str:
    if "." not in identifier and '"' not in identifier:
        return identifier
    escaped = identifier.replace('"', '""')
    return f'"{escaped}"'
