"""Column types, and values that look like those of another type.

Each type is a shape of its own table with several values: every insert writes them all, and the fault changes one of them to a value
that is nearly the same.
"""

from comparator.tables import JsonColumn, Table, Volatile
from tests.zoo.one_table import one_table
from tests.zoo.shape import Fault, Shape


def typed(name: str, table: str, kind: str, values: tuple[str, ...], near: str, **more: object) -> Shape:
    """Return a shape of one column of a type.

    Args:
        name: of the shape.
        table: name of the table.
        kind: type of the column.
        values: SQL expressions; row `i` of a request has the i-th.
        near: an expression for another value, close to the first.
        more: further attributes of the shape.
    """

    def rows(n: str) -> str:
        return ", ".join(f"({n}, {i}, {value}::{kind})" for i, value in enumerate(values))

    last = len(values) - 1
    made: dict[str, object] = {
        "name": name,
        "ddl": f"{more.pop('before', '')}; CREATE TABLE {table} (k int, i int, v {kind}, PRIMARY KEY (k, i))",
        "tables": (table,),
        "seed": f"INSERT INTO {table} SELECT n, x.* FROM generate_series(1, 120) n, (VALUES {rows('0').replace('(0, ', '(')}) x",
        "insert": (f"INSERT INTO {table} VALUES {rows('{new}')}",),
        "update": (
            f"UPDATE {table} SET v = {near}::{kind} WHERE k = {{old}} AND i = 0",
            f"UPDATE {table} SET v = NULL WHERE k = {{near}} AND i = {last}",
        ),
        "delete": (f"DELETE FROM {table} WHERE k = {{old}}",),
        "mixed": (
            f"INSERT INTO {table} VALUES {rows('{new}')}",
            f"UPDATE {table} a SET v = b.v FROM {table} b WHERE a.k = {{old}} AND b.k = {{new}} AND a.i = ({last} - b.i)",
            f"DELETE FROM {table} WHERE k = {{near}} AND i = 0",
        ),
        "truncate": (f"TRUNCATE {table}",),
        "faults": {
            "changed": Fault((f"UPDATE {table} SET v = {near}::{kind} WHERE k = {{new}} AND i = 0",), f"{table}.v"),
            "nothing": Fault((f"UPDATE {table} SET v = NULL WHERE k = {{new}} AND i = 0",), f"{table}.v"),
            "lost": Fault((f"DELETE FROM {table} WHERE k = {{new}} AND i = {last}",), table),
            "extra": Fault((f"INSERT INTO {table} VALUES ({{new}}, 99, {near}::{kind})",), table),
        },
    }
    return Shape(**{**made, **more})  # pyright: ignore[reportArgumentType]


AWKWARD = r"""(E'tab\t newline\n quote'' "double" back\\slash {braces} NULL \\N')"""

SHAPES = (
    typed("text that looks like a number", "text_number", "text", ("'1.10'", "'5'", "'0'", "'NaN'", "'007'"), "'1.1'"),
    typed("text with zero and minus zero", "text_zero", "text", ("'0'", "'-0'", "'+0'"), "'-0'"),
    typed(
        "text that looks like a time",
        "text_time",
        "text",
        ("'2020-01-01 00:00:00+00'", "'2020-01-01T00:00:00Z'", "'infinity'"),
        "'2020-01-01T00:00:00Z'",
    ),
    typed(
        "text that looks like JSON",
        "text_json",
        "text",
        ("""'{"a": 1}'""", "'[]'", "'null'", "'\"x\"'"),
        """'{"a":1}'""",
    ),
    typed(
        "text with any character",
        "text_awkward",
        "text",
        (AWKWARD, "''", "' '", "'NULL'", "U&'\\+01F600'", "E'\\u00e9'"),
        "E'e\\u0301'",
    ),
    typed("char(n), which is padded", "value_char", "char(8)", ("'ab'", "''", "'12345678'"), "'abc'"),
    typed("varchar(n) with spaces at the end", "value_varchar", "varchar(20)", ("'ab'", "'ab  '", "''"), "'ab '"),
    typed("boolean", "value_boolean", "boolean", ("true", "false"), "false"),
    typed(
        "numeric without a scale",
        "value_numeric",
        "numeric",
        ("1.10", "'NaN'", "'1e100'", "0.00000000000000000001", "-0", "12345678901234567890.123456789"),
        "1.10000000000000000001",
    ),
    typed(
        "numeric with infinities", "value_infinite", "numeric", ("'Infinity'", "'-Infinity'", "'NaN'"), "'-Infinity'"
    ),
    typed("numeric(p,s)", "value_scaled", "numeric(18,9)", ("1", "0.123456789", "999999999"), "1.000000001"),
    typed(
        "floating point",
        "value_float",
        "double precision",
        ("0.1", "'NaN'", "'Infinity'", "'-Infinity'", "1e-300", "'-0'", "123456789.123456789"),
        "0.1::double precision + 2e-17",
    ),
    typed("real", "value_real", "real", ("0.1", "'NaN'", "3.4e38", "1.17549435e-38"), "0.10000001"),
    typed(
        "bigint at its limits",
        "value_bigint",
        "bigint",
        ("9223372036854775807", "'-9223372036854775808'", "0"),
        "9223372036854775806",
    ),
    typed("money", "value_money", "money", ("12.34", "'-0.01'", "0"), "12.35"),
    typed("bytea", "value_bytea", "bytea", (r"'\x00ff'", r"'\x'", r"'\x5c27'"), r"'\x00fe'"),
    typed(
        "date with infinity and BC",
        "value_date",
        "date",
        ("'2020-02-29'", "'infinity'", "'-infinity'", "'0044-03-15 BC'"),
        "'2020-03-01'",
    ),
    typed(
        "timestamp with time zone",
        "value_timestamptz",
        "timestamptz",
        (
            "'2020-01-01 00:00:00.000001Z'",
            "'infinity'",
            "'-infinity'",
            "'0001-01-01 00:00:00Z'",
            "'9999-12-31 23:59:59.999999Z'",
        ),
        "'2020-01-01 00:00:00.000002Z'",
    ),
    typed(
        "timestamp without time zone",
        "value_timestamp",
        "timestamp",
        ("'2020-01-01 00:00:00'", "'infinity'"),
        "'2020-01-01 00:00:00.000001'",
    ),
    typed(
        "time and time with time zone",
        "value_timetz",
        "timetz",
        ("'12:00:00+02'", "'24:00:00+00'", "'00:00:00-15:59'"),
        "'10:00:00+00'",
    ),
    typed(
        "interval",
        "value_interval",
        "interval",
        ("'1 mon'", "'-1 year 2 mons 3 days 04:05:06.789'", "'0'", "'1 day -00:00:01'"),
        "'30 days'",
    ),
    typed(
        "infinite interval", "value_endless", "interval", ("'infinity'", "'-infinity'"), "'100000000 years'", since=18
    ),
    typed(
        "uuid value",
        "value_uuid",
        "uuid",
        ("'00000000-0000-0000-0000-000000000000'", "'FFFFFFFF-ffff-ffff-ffff-ffffffffffff'"),
        "'00000000-0000-0000-0000-000000000001'",
    ),
    typed("bit strings", "value_bit", "bit varying", ("B'101'", "B''", "B'0'"), "B'1010'"),
    typed("network addresses", "value_inet", "inet", ("'10.0.0.1/8'", "'::1'", "'10.0.0.1'"), "'10.0.0.1/16'"),
    typed(
        "mac addresses",
        "value_macaddr",
        "macaddr",
        ("'08:00:2b:01:02:03'", "'ff:ff:ff:ff:ff:ff'"),
        "'08:00:2b:01:02:04'",
    ),
    typed(
        "jsonb",
        "value_jsonb",
        "jsonb",
        ("""'{"b": 1, "a": [1, 1.0, null, "x"], "": {}}'""", "'null'", "'\"\"'", "'[]'", "'1e2'"),
        """'{"b": 2, "a": [1, 1.0, null, "x"], "": {}}'""",
        faults={
            "changed": Fault(
                (
                    """UPDATE value_jsonb SET v = '{"b": 2, "a": [1, 1.0, null, "x"], "": {}}' WHERE k = {new} AND i = 0""",
                ),
                "value_jsonb.v.b",
            ),
            "nothing": Fault(("UPDATE value_jsonb SET v = NULL WHERE k = {new} AND i = 0",), "value_jsonb.v"),
            "lost": Fault(("DELETE FROM value_jsonb WHERE k = {new} AND i = 1",), "value_jsonb"),
        },
    ),
    typed(
        "json, which keeps its text",
        "value_json",
        "json",
        ("""'{"b": 1,  "a": 1, "a": 2}'""", "'null'", "' [1 , 2]'"),
        """'{"b": 2,  "a": 1, "a": 2}'""",
        faults={"lost": Fault(("DELETE FROM value_json WHERE k = {new} AND i = 1",), "value_json")},
    ),
    typed("jsonpath", "value_jsonpath", "jsonpath", ("'$.a[*] ? (@ > 1)'", "'strict $'"), "'$.a[*] ? (@ > 2)'"),
    typed(
        "xml", "value_xml", "xml", ("'<a b=\"1\">x</a>'", "'text'"), "'<a b=\"2\">x</a>'", requires="SELECT '<a/>'::xml"
    ),
    typed(
        "hstore",
        "value_hstore",
        "hstore",
        ('\'a=>1, b=>NULL, "c d"=>"x"\'', "''"),
        '\'a=>2, b=>NULL, "c d"=>"x"\'',
        before="CREATE EXTENSION IF NOT EXISTS hstore",
        requires="CREATE EXTENSION hstore",
    ),
    typed(
        "citext",
        "value_citext",
        "citext",
        ("'Abc'", "''"),
        "'abd'",
        before="CREATE EXTENSION IF NOT EXISTS citext",
        requires="CREATE EXTENSION citext",
    ),
    typed(
        "ltree",
        "value_ltree",
        "ltree",
        ("'a.b.c'", "''"),
        "'a.b'",
        before="CREATE EXTENSION IF NOT EXISTS ltree",
        requires="CREATE EXTENSION ltree",
    ),
    typed(
        "full text search",
        "value_tsvector",
        "tsvector",
        ("to_tsvector('simple', 'a fat cat')", "''"),
        "to_tsvector('simple', 'a fat bat')",
    ),
    typed("full text query", "value_tsquery", "tsquery", ("'fat & !rat'", "'a <-> b'"), "'fat & rat'"),
    typed(
        "integer array",
        "value_array",
        "integer[]",
        ("'{1,2}'", "'{}'", "'{NULL,1}'", "'[0:1]={1,2}'", "'{{1,2},{3,4}}'"),
        "'{2,1}'",
    ),
    typed(
        "text array",
        "value_texts",
        "text[]",
        (r"""'{"a,b",NULL,"NULL","","q\"q","b\\s"}'""", "'{}'"),
        r"""'{"a","b"}'""",
    ),
    typed("numeric array", "value_numerics", "numeric[]", ("'{1.0,2}'", "'{NaN}'"), "'{1.01,2}'"),
    typed("range", "value_range", "numrange", ("'[1.5,2)'", "'empty'", "'(,)'", "'[1,)'"), "'[1.5,2]'"),
    typed(
        "time range",
        "value_tstzrange",
        "tstzrange",
        ("'[2020-01-01Z,2020-01-02Z)'", "'[,infinity)'", "'empty'"),
        "'[2020-01-01Z,2020-01-02Z]'",
    ),
    typed("multirange", "value_multirange", "int4multirange", ("'{[1,3),[5,7)}'", "'{}'"), "'{[1,3),[5,8)}'"),
    typed("geometry", "value_point", "point", ("'(1,2)'", "'(Infinity,NaN)'"), "'(1,2.0000000001)'"),
    typed("polygon", "value_polygon", "polygon", ("'((0,0),(1,0),(1,1))'",), "'((0,0),(1,0),(1,2))'"),
    typed("pg_lsn, oid and regclass", "value_lsn", "pg_lsn", ("'0/0'", "'16/B374D848'"), "'0/1'"),
    typed(
        "enum",
        "value_enum",
        "mood",
        ("'sad'", "'ok'", "'it''s \"fine\"'"),
        "'ok'",
        before="CREATE TYPE mood AS ENUM ('sad', 'ok', 'it''s \"fine\"')",
    ),
    typed(
        "domain over numeric",
        "value_domain",
        "price",
        ("1.10", "99.9"),
        "1.11",
        before="CREATE DOMAIN price AS numeric CHECK (VALUE > 0)",
    ),
    typed(
        "domain over an array",
        "value_domain_array",
        "digits",
        ("'{1.0,2}'", "'{}'"),
        "'{3}'",
        before="CREATE DOMAIN digits AS numeric[]",
    ),
    typed(
        "composite type",
        "value_composite",
        "spot",
        ("ROW(1, 'a,\"b\"', NULL)", "ROW(NULL, '', ARRAY[1,2])", "NULL"),
        "ROW(1, 'a,b', NULL)",
        before="CREATE TYPE spot AS (x int, name text, tags int[])",
    ),
    typed(
        "array of composite types",
        "value_composites",
        "place[]",
        ("ARRAY[ROW(1, 'a'), ROW(2, NULL)]::place[]", "'{}'"),
        "ARRAY[ROW(1, 'b'), ROW(2, NULL)]::place[]",
        before="CREATE TYPE place AS (x int, name text)",
    ),
    typed(
        "array of enums",
        "value_enums",
        "colour[]",
        ("'{red,blue}'", "'{}'"),
        "'{blue,red}'",
        before="CREATE TYPE colour AS ENUM ('red', 'blue')",
    ),
    one_table(
        "toasted values that an update leaves alone",
        "toasted",
        columns="k int PRIMARY KEY, big text, v text",
        before="",
        after="ALTER TABLE toasted ALTER COLUMN big SET STORAGE EXTERNAL",
        row="{n}",
        values="{n}, repeat('0123456789', 900) || {n}, {v}",
    ),
    one_table(
        "toasted value that changes in its last character",
        "toasted_change",
        columns="k int PRIMARY KEY, v text",
        after="ALTER TABLE toasted_change ALTER COLUMN v SET STORAGE EXTERNAL",
        row="{n}",
        values="{n}, repeat('x', 20000) || {v}",
        faults={
            "changed": Fault(
                ("UPDATE toasted_change SET v = repeat('x', 20000) || 'nev' WHERE k = {new}",), "toasted_change.v"
            ),
            "lost": Fault(("DELETE FROM toasted_change WHERE k = {new}",), "toasted_change"),
        },
    ),
    one_table(
        "epoch times in milliseconds, with a tolerance",
        "epoch_ms",
        columns="k text PRIMARY KEY, v text, at bigint",
        row="('k' || {n})",
        values="'k' || {n}, {v}, (extract(epoch FROM clock_timestamp()) * 1000)::bigint",
        described=Table(natural_key=("k",), volatile={"at": Volatile(within_ms=60_000, epoch="ms")}),
        faults={
            "changed": Fault(("UPDATE epoch_ms SET at = at - 1000000 WHERE k = 'k{new}'",), "epoch_ms.at"),
            "lost": Fault(("DELETE FROM epoch_ms WHERE k = 'k{new}'",), "epoch_ms"),
        },
    ),
    one_table(
        "epoch times in seconds, with a tolerance",
        "epoch_s",
        columns="k text PRIMARY KEY, v text, at double precision",
        row="('k' || {n})",
        values="'k' || {n}, {v}, extract(epoch FROM clock_timestamp())",
        described=Table(natural_key=("k",), volatile={"at": Volatile(within_ms=60_000, epoch="s")}),
        faults={
            "changed": Fault(("UPDATE epoch_s SET at = at - 1000 WHERE k = 'k{new}'",), "epoch_s.at"),
            "lost": Fault(("DELETE FROM epoch_s WHERE k = 'k{new}'",), "epoch_s"),
        },
    ),
    one_table(
        "created_at, with a tolerance",
        "created",
        columns="k text PRIMARY KEY, v text, at timestamptz DEFAULT now()",
        insert_columns="k, v",
        row="('k' || {n})",
        values="'k' || {n}, {v}",
        described=Table(natural_key=("k",), volatile={"at": Volatile(within_ms=60_000)}),
        faults={
            "changed": Fault(("UPDATE created SET at = at - interval '1 hour' WHERE k = 'k{new}'",), "created.at"),
            "nothing": Fault(("UPDATE created SET at = NULL WHERE k = 'k{new}'",), "created.at"),
        },
    ),
    one_table(
        "random token, not compared",
        "token",
        columns="k text PRIMARY KEY, v text, secret uuid DEFAULT gen_random_uuid()",
        insert_columns="k, v",
        row="('k' || {n})",
        values="'k' || {n}, {v}",
        described=Table(natural_key=("k",), ignore_columns=("secret",)),
    ),
    one_table(
        "JSON document in a text column, described",
        "document",
        columns="k text PRIMARY KEY, v text",
        row="('k' || {n})",
        values="""'k' || {n}, '{"name": "' || {v} || '", "at": ' || random() || '}'""",
        update=("""UPDATE document SET v = '{"name": "updated", "at": ' || random() || '}' WHERE k = 'k{old}'""",),
        mixed=("""UPDATE document SET v = '{"name": "mixed",    "at": ' || random() || '}' WHERE k = 'k{old}'""",),
        described=Table(natural_key=("k",), json={"v": JsonColumn(ignore=("at",))}),
        faults={
            "changed": Fault(
                ("""UPDATE document SET v = '{"name": "other", "at": 0}' WHERE k = 'k{new}'""",), "document.v.name"
            ),
            "lost": Fault(("DELETE FROM document WHERE k = 'k{new}'",), "document"),
        },
    ),
    one_table(
        "wide table",
        "wide",
        columns="k int PRIMARY KEY, v text, " + ", ".join(f"c{i} text DEFAULT 'x{i}'" for i in range(300)),
        insert_columns="k, v",
        row="{n}",
        values="{n}, {v}",
    ),
    one_table(
        "columns dropped before, and a missing default",
        "dropped",
        columns="a int, k int PRIMARY KEY, b text, v text, c int",
        insert_columns="k, v",
        after="ALTER TABLE dropped DROP COLUMN a, DROP COLUMN b; ALTER TABLE dropped ADD COLUMN d int DEFAULT 7",
        row="{n}",
        values="{n}, {v}",
    ),
)
