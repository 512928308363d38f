"""Read the shapes of captured tables from the system catalogue: columns, keys, replica identity.

The write-ahead log names columns and nothing more (under a full replica identity it marks every column as a key), so the primary key,
the types for casts and the generated columns come from here.
"""

from collections.abc import Iterable
from typing import Final

import asyncpg

from comparator.capture.errors import CatalogError
from comparator.capture.table_shape import (
    Catalog,
    Column,
    ForeignKey,
    Partition,
    ReplicaIdentity,
    TableKind,
    TableShape,
    quote,
)
from comparator.postgres import Connection
from comparator.table_names import canonical_name, split_name, table_name

CATALOG_TIMEOUT_S = 30.0
KINDS: Final = {
    "r": TableKind.TABLE,
    "p": TableKind.PARTITIONED,
    "f": TableKind.FOREIGN,
    "v": TableKind.VIEW,
    "m": TableKind.MATERIALIZED_VIEW,
}
"""Kind by pg_class.relkind."""


def literal(text: str) -> str:
    """Quote a string constant for SQL that takes no parameters (DDL)."""
    escaped = text.replace("'", "''")
    return f"'{escaped}'"


TABLES = """
SELECT c.oid, n.nspname AS schema, c.relname AS relation, c.relkind::text AS kind, c.relpersistence::text AS persistence,
       c.relreplident::text AS identity, pg_has_role(current_user, c.relowner, 'USAGE') AS owned,
       ARRAY(SELECT a.attname::text FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k (attnum, place)
             JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
             WHERE i.indrelid = c.oid AND i.indisprimary AND k.place <= i.indnkeyatts ORDER BY k.place) AS primary_key,
       EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary AND NOT i.indimmediate) AS key_deferrable,
       ARRAY(SELECT t.tgname::text FROM pg_trigger t
             WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled <> 'D' ORDER BY t.tgname) AS triggers,
       EXISTS (SELECT 1 FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled <> 'D'
               AND t.tgtype & 1 = 0 AND t.tgname !~ '[!_]shadow_(tag|capture)') AS statement_triggers,
       ARRAY(SELECT r.rulename::text FROM pg_rewrite r WHERE r.ev_class = c.oid AND r.rulename <> '_RETURN' AND r.ev_enabled <> 'D'
             ORDER BY 1) AS rules,
       c.relispartition AS partition, root.relname AS root_relation, root_schema.nspname AS root_schema,
       has_schema_privilege(n.oid, 'USAGE') AND (has_table_privilege(c.oid, 'SELECT')
           OR NOT EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                          AND NOT has_column_privilege(c.oid, a.attnum, 'SELECT'))) AS readable,
       row_security_active(c.oid) AS rows_hidden
FROM unnest($1::text[], $2::text[]) AS wanted (schema, relation)
JOIN pg_namespace n ON n.nspname = wanted.schema
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = wanted.relation AND c.relkind IN ('r', 'p', 'f', 'v', 'm')
LEFT JOIN pg_class root ON c.relispartition AND root.oid = pg_partition_root(c.oid)
LEFT JOIN pg_namespace root_schema ON root_schema.oid = root.relnamespace
"""

DESCENDANTS = """
WITH RECURSIVE below (top, oid) AS (
    SELECT inhparent, inhrelid FROM pg_inherits WHERE inhparent = ANY($1::oid[])
    UNION SELECT below.top, i.inhrelid FROM below JOIN pg_inherits i ON i.inhparent = below.oid)
SELECT below.top AS oid, n.nspname AS schema, c.relname AS relation, c.relkind::text AS kind, c.relpersistence::text AS persistence,
       c.relreplident::text AS identity, c.relispartition AS partition, c.relfilenode::bigint AS file, c.xmin::text::bigint AS file_since,
       EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary AND i.indimmediate) AS has_key
FROM below JOIN pg_class c ON c.oid = below.oid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind <> 'p' ORDER BY below.top, n.nspname, c.relname
"""

COLUMNS = """
SELECT a.attrelid AS oid, a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, a.attgenerated <> '' AS generated,
       a.attgenerated = 'v' AS virtual, a.atttypid::bigint AS type_oid, a.atttypmod AS type_modifier,
       ARRAY(SELECT e.enumlabel::text FROM pg_type t JOIN pg_enum e ON e.enumtypid IN (t.oid, t.typelem, t.typbasetype)
             WHERE t.oid = a.atttypid ORDER BY e.enumsortorder) AS labels,
       CASE a.attidentity WHEN 'a' THEN 'always' WHEN 'd' THEN 'default' ELSE '' END AS identity, a.attnotnull AS not_null,
       (WITH RECURSIVE base (type, modifier) AS (
            SELECT a.atttypid, a.atttypmod
            UNION ALL SELECT t.typbasetype, t.typtypmod FROM base JOIN pg_type t ON t.oid = base.type WHERE t.typtype = 'd')
        SELECT format_type(base.type, base.modifier) FROM base JOIN pg_type t ON t.oid = base.type WHERE t.typtype <> 'd')
           AS value_type,
       a.attidentity <> '' OR coalesce(a.attgenerated = '' AND pg_get_expr(d.adbin, d.adrelid) ~ $2, false) AS fills_itself
FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = ANY($1::oid[]) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attrelid, a.attnum
"""
MAKES_ITS_OWN_VALUE = r"(^|\.)(nextval|gen_random_uuid|uuid_generate_v[14]|uuidv[47])\("
"""Defaults that give the same row another value in each database."""

FOREIGN_KEYS = """
SELECT f.conrelid AS oid, f.conname AS name, f.condeferrable AS deferrable, n.nspname AS schema, c.relname AS relation,
       ARRAY(SELECT a.attname::text FROM unnest(f.conkey) WITH ORDINALITY AS k (attnum, place)
             JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = k.attnum ORDER BY k.place) AS columns,
       ARRAY(SELECT a.attname::text FROM unnest(f.confkey) WITH ORDINALITY AS k (attnum, place)
             JOIN pg_attribute a ON a.attrelid = f.confrelid AND a.attnum = k.attnum ORDER BY k.place) AS referenced,
       ARRAY(SELECT a.attname::text FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
             WHERE a.attrelid = f.confrelid AND a.attnum = ANY(f.confkey)
               AND (a.attidentity <> '' OR coalesce(a.attgenerated = '' AND pg_get_expr(d.adbin, d.adrelid) ~ $2, false)))
           AS self_filling
FROM pg_constraint f JOIN pg_class c ON c.oid = f.confrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE f.contype = 'f' AND f.conrelid = ANY($1::oid[]) ORDER BY f.conrelid, f.conname
"""

UNIQUE = """
SELECT i.indrelid AS oid, ARRAY(SELECT a.attname::text FROM unnest(i.indkey) WITH ORDINALITY AS k (attnum, place)
       JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum WHERE k.place <= i.indnkeyatts ORDER BY k.place) AS columns
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = ANY($1::oid[]) AND i.indisunique AND NOT i.indisprimary AND i.indpred IS NULL AND i.indexprs IS NULL
ORDER BY i.indrelid, EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey) AND NOT a.attnotnull),
         c.relname
"""
"""Unique constraints and indexes over plain columns; those whose columns are NOT NULL come first."""


async def read_catalog(conn: Connection, tables: Iterable[str]) -> Catalog:
    """Read the shape of each named table.

    Raises:
        CatalogError: a table does not exist; the message names all that are missing.
    """
    wanted = [canonical_name(name) for name in dict.fromkeys(tables)]
    catalog = await read_existing(conn, wanted)
    missing = [name for name in wanted if name not in catalog.tables]
    if missing:
        raise CatalogError(f"no such table: {', '.join(missing)}")
    return catalog


async def read_existing(conn: Connection, tables: Iterable[str]) -> Catalog:
    """Read the shape of each named table that exists."""
    names = [split_name(name) for name in tables]
    schemas, relations = [schema for schema, _ in names], [relation for _, relation in names]
    rows = await conn.fetch(TABLES, schemas, relations, timeout=CATALOG_TIMEOUT_S)
    oids = [row["oid"] for row in rows]
    below = _by_table(await conn.fetch(DESCENDANTS, oids, timeout=CATALOG_TIMEOUT_S))
    columns = _by_table(await conn.fetch(COLUMNS, oids, MAKES_ITS_OWN_VALUE, timeout=CATALOG_TIMEOUT_S))
    foreign = _by_table(await conn.fetch(FOREIGN_KEYS, oids, MAKES_ITS_OWN_VALUE, timeout=CATALOG_TIMEOUT_S))
    unique = _by_table(await conn.fetch(UNIQUE, oids, timeout=CATALOG_TIMEOUT_S))
    parts = columns, foreign, below, unique
    shapes = [_shape(row, *(part.get(row["oid"], []) for part in parts)) for row in rows]
    return Catalog({shape.name: shape for shape in sorted(shapes, key=lambda shape: shape.name)})


async def read_family(conn: Connection, tables: Iterable[str]) -> Catalog:
    """Read the shapes of the named tables that exist, and of all tables that inherit from them.

    A statement on a table writes the rows of its children too, and each of them is captured as a table of its own.
    """
    catalog = await read_existing(conn, tables)
    children = {child for table in catalog.tables.values() for child in table.children} - catalog.tables.keys()
    return await read_existing(conn, [*catalog.tables, *children]) if children else catalog


PUBLISHED = "SELECT schemaname, tablename FROM pg_publication_tables WHERE pubname = $1 ORDER BY 1, 2"


async def published_tables(conn: Connection, publication: str) -> tuple[str, ...]:
    """Return the names of the published tables, none when the publication does not exist."""
    rows = await conn.fetch(PUBLISHED, publication, timeout=CATALOG_TIMEOUT_S)
    return tuple(table_name(row["schemaname"], row["tablename"]) for row in rows)


USER_TABLES = """
SELECT n.nspname AS schema, c.relname AS relation FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE (c.relkind IN ('r', 'p') OR c.relkind = 'f' AND $2) AND c.relpersistence <> 't' AND NOT c.relispartition
  AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND n.nspname <> ALL($1::text[])
  AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1, 2
"""


async def user_tables(
    conn: Connection, *, without_schemas: Iterable[str] = (), foreign: bool = True
) -> tuple[str, ...]:
    """Return the names of all tables of the database that hold rows of its applications.

    Partitioned tables stand for their partitions. Tables that belong to an extension, and temporary tables, are left out.

    Args:
        conn: connection to the database.
        without_schemas: schemas that are left out.
        foreign: name foreign tables too, whose rows are in another database.
    """
    rows = await conn.fetch(USER_TABLES, list(without_schemas), foreign, timeout=CATALOG_TIMEOUT_S)
    return tuple(table_name(row["schema"], row["relation"]) for row in rows)


def _by_table(rows: Iterable[asyncpg.Record]) -> dict[int, list[asyncpg.Record]]:
    grouped: dict[int, list[asyncpg.Record]] = {}
    for row in rows:
        grouped.setdefault(row["oid"], []).append(row)
    return grouped


def _column(record: asyncpg.Record) -> Column:
    return Column(
        name=record["name"],
        type=record["type"],
        generated=record["generated"],
        identity=record["identity"],
        not_null=record["not_null"],
        value_type=record["value_type"],
        fills_itself=record["fills_itself"],
        virtual=record["virtual"],
        type_id=(record["type_oid"], record["type_modifier"]),
        labels=tuple(record["labels"]),
    )


def _kind(relkind: str) -> TableKind:
    return KINDS.get(relkind, TableKind.OTHER)


def _partition(row: asyncpg.Record) -> Partition:
    return Partition(
        name=table_name(row["schema"], row["relation"]),
        quoted=f"{quote(row['schema'])}.{quote(row['relation'])}",
        kind=_kind(row["kind"]),
        logged=row["persistence"] == "p",
        replica_identity=ReplicaIdentity(row["identity"]),
        has_key=row["has_key"],
        file=row["file"],
        file_since=row["file_since"],
    )


def _shape(
    row: asyncpg.Record,
    columns: list[asyncpg.Record],
    foreign: list[asyncpg.Record],
    below: list[asyncpg.Record],
    unique: list[asyncpg.Record],
) -> TableShape:
    partitioned = row["kind"] == "p"
    return TableShape(
        name=table_name(row["schema"], row["relation"]),
        schema=row["schema"],
        relation=row["relation"],
        kind=_kind(row["kind"]),
        logged=row["persistence"] == "p",
        owned=row["owned"],
        replica_identity=ReplicaIdentity(row["identity"]),
        primary_key=tuple(row["primary_key"]),
        columns=tuple(_column(column) for column in columns),
        foreign_keys=tuple(
            ForeignKey(
                name=key["name"],
                columns=tuple(key["columns"]),
                references=table_name(key["schema"], key["relation"]),
                referenced=tuple(key["referenced"]),
                deferrable=key["deferrable"],
                self_filling=tuple(key["self_filling"]),
            )
            for key in foreign
        ),
        triggers=tuple(row["triggers"]),
        key_deferrable=row["key_deferrable"],
        partitions=tuple(_partition(leaf) for leaf in below) if partitioned else (),
        root=table_name(row["root_schema"], row["root_relation"]) if row["partition"] else "",
        children=() if partitioned else tuple(table_name(child["schema"], child["relation"]) for child in below),
        rules=tuple(row["rules"]),
        statement_triggers=row["statement_triggers"],
        readable=row["readable"],
        rows_hidden=row["rows_hidden"],
        oid=row["oid"],
        unique=tuple(tuple(key["columns"]) for key in unique),
    )
