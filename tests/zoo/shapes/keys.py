"""Primary keys of each kind, and tables without one."""

from comparator.tables import Table
from tests.zoo.shape import Fault, Shape


def one_table(
    name: str,
    table: str,
    *,
    columns: str,
    row: str,
    values: str,
    key: str = "k",
    value: str = "v",
    described: Table | None = None,
    ddl: str = "",
    **more: object,
) -> Shape:
    """Return a shape of one table with a key and a text column.

    Args:
        name: of the shape.
        table: name of the table, quoted where it has to be.
        columns: definitions of the columns and constraints; the column `value` is a text.
        row: SQL expression for the key of the row number $n, with `{n}` in place of the number.
        values: SQL expressions for a whole row, with `{n}` and `{v}` in place of number and value.
        key: column of the key.
        value: column of the value.
        described: entry of `compare.tables`, if there is one.
        ddl: further statements.
        more: further attributes of the shape, which replace those made here.
    """

    def key_of(n: str) -> str:
        return row.replace("{n}", n)

    def tuple_of(n: str, v: str) -> str:
        return values.replace("{n}", n).replace("{v}", v)

    bare = table.replace('"', "")
    where = f"WHERE {key} = {key_of('{new}')}"
    made: dict[str, object] = {
        "name": name,
        "ddl": f"CREATE TABLE {table} ({columns}); {ddl}",
        "tables": (bare,),
        "seed": f"INSERT INTO {table} SELECT {tuple_of('n', chr(39) + 'seeded ' + chr(39) + ' || n')} FROM generate_series(1, 120) n",
        "insert": (f"INSERT INTO {table} VALUES ({tuple_of('{new}', chr(39) + 'new' + chr(39))})",),
        "update": (f"UPDATE {table} SET {value} = 'updated {{old}}' WHERE {key} = {key_of('{old}')}",),
        "delete": (f"DELETE FROM {table} WHERE {key} = {key_of('{old}')}",),
        "mixed": (
            f"INSERT INTO {table} VALUES ({tuple_of('{new}', chr(39) + 'mixed' + chr(39))})",
            f"UPDATE {table} SET {value} = {value} || ' mixed' WHERE {key} = {key_of('{old}')}",
            f"UPDATE {table} SET {value} = {value} || ' again' WHERE {key} = {key_of('{old}')}",
            f"UPDATE {table} SET {value} = {value} || ' too' WHERE {key} = {key_of('{new}')}",
            f"DELETE FROM {table} WHERE {key} = {key_of('{near}')}",
        ),
        "truncate": (f"TRUNCATE {table}",),
        "faults": {
            "changed": Fault((f"UPDATE {table} SET {value} = 'other' {where}",), f"{bare}.{value}"),
            "lost": Fault((f"DELETE FROM {table} {where}",), bare),
            "extra": Fault(
                (f"INSERT INTO {table} VALUES ({tuple_of('{new} + 5000', chr(39) + 'new' + chr(39))})",), bare
            ),
        },
        "described": {bare: described} if described else {},
    }
    return Shape(**{**made, **more})  # pyright: ignore[reportArgumentType]


SHAPES = (
    one_table(
        "integer key",
        "key_integer",
        columns="k int PRIMARY KEY, v text",
        row="{n}",
        values="{n}, {v}",
    ),
    one_table(
        "text key",
        "key_text",
        columns="k text PRIMARY KEY, v text",
        row="('key ' || {n})",
        values="'key ' || {n}, {v}",
    ),
    one_table(
        "uuid key",
        "key_uuid",
        columns="k uuid PRIMARY KEY, v text",
        row="md5(({n})::text)::uuid",
        values="md5(({n})::text)::uuid, {v}",
    ),
    Shape(
        name="composite key that is not id",
        ddl="CREATE TABLE permission (owner text, object text, level int NOT NULL, PRIMARY KEY (owner, object))",
        tables=("permission",),
        seed="INSERT INTO permission SELECT 'k' || n, o, 1 FROM generate_series(1, 120) n, unnest(ARRAY['a', 'b']) o",
        insert=("INSERT INTO permission VALUES ('k{new}', 'a', 1), ('k{new}', 'b', 2)",),
        update=("UPDATE permission SET level = level + {old} WHERE owner = 'k{old}'",),
        delete=("DELETE FROM permission WHERE owner = 'k{old}' AND object = 'b'",),
        mixed=(
            "INSERT INTO permission VALUES ('k{new}', 'a', 1), ('k{new}', 'b', 2)",
            "UPDATE permission SET level = 7 WHERE owner = 'k{new}' AND object = 'a'",
            "DELETE FROM permission WHERE owner IN ('k{old}', 'k{near}')",
        ),
        truncate=("TRUNCATE permission",),
        faults={
            "changed": Fault(
                ("UPDATE permission SET level = 999 WHERE owner = 'k{new}' AND object = 'a'",), "permission.level"
            ),
            "lost": Fault(("DELETE FROM permission WHERE owner = 'k{new}' AND object = 'a'",), "permission"),
            "extra": Fault(("INSERT INTO permission VALUES ('k{new}', 'c', 2)",), "permission"),
        },
    ),
    Shape(
        name="no primary key",
        ddl="CREATE TABLE keyless (owner text, v int)",
        tables=("keyless",),
        seed="INSERT INTO keyless SELECT 'k' || n, n FROM generate_series(1, 120) n",
        insert=("INSERT INTO keyless VALUES ('k{new}', 1), ('k{new}', 1), ('k{new}', 2)",),
        update=("UPDATE keyless SET v = v + 1000 WHERE owner = 'k{old}'",),
        delete=("DELETE FROM keyless WHERE owner = 'k{old}'",),
        mixed=(
            "INSERT INTO keyless VALUES ('k{new}', 1), ('k{new}', 1), ('k{new}', 2)",
            "UPDATE keyless SET v = 3 WHERE owner IN ('k{new}', 'k{old}')",
            "DELETE FROM keyless WHERE owner = 'k{near}'",
        ),
        truncate=("TRUNCATE keyless",),
        faults={
            "changed": Fault(("UPDATE keyless SET v = 99 WHERE owner = 'k{new}' AND v = 2",), "keyless"),
            "lost": Fault(
                (
                    "DELETE FROM keyless WHERE ctid = (SELECT ctid FROM keyless WHERE owner = 'k{new}' AND v = 1 LIMIT 1)",
                ),
                "keyless",
            ),
            "extra": Fault(("INSERT INTO keyless VALUES ('k{new}', 1)",), "keyless"),
        },
    ),
)
