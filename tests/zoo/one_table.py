"""Makes a shape of one table with a key and a text column, which most shapes are."""

from comparator.tables import Table
from tests.zoo.shape import SEEDED, Fault, Shape


def one_table(
    name: str,
    table: str,
    *,
    columns: str,
    row: str,
    values: str,
    key: str = "k",
    value: str = "v",
    before: str = "",
    after: str = "",
    insert_columns: str = "",
    name_in_config: str = "",
    place: str = "",
    described: Table | None = None,
    **more: object,
) -> Shape:
    """Return a shape of one table.

    Args:
        name: of the shape.
        table: name of the table in SQL.
        columns: definitions of the columns and constraints; the column `value` is a text.
        row: SQL expression for the key of the row number n, with `{n}` in place of the number.
        values: SQL expressions for a whole row, with `{n}` and `{v}` in place of number and value.
        key: column of the key, in SQL.
        value: column of the value, in SQL.
        before: statements before CREATE TABLE.
        after: statements after it.
        insert_columns: the columns that `values` are for; all when empty.
        name_in_config: name of the table in the configuration, if it is not `table` without quotes.
        place: of a changed value in a comparison, if it is not the names of table and column.
        described: entry of `compare.tables`, if there is one.
        more: further attributes of the shape, which replace those made here.
    """

    def key_of(n: str) -> str:
        return row.replace("{n}", n)

    def tuple_of(n: str, v: str) -> str:
        return values.replace("{n}", n).replace("{v}", v)

    listed = f"{table} ({insert_columns})" if insert_columns else table
    bare = name_in_config or table.replace('"', "")
    where = f"WHERE {key} = {key_of('{new}')}"
    seeded, new = tuple_of("n", "'seeded ' || n"), tuple_of("{new}", "'new'")
    mixed, extra = tuple_of("{new}", "'mixed'"), tuple_of("({new} + 5000)", "'new'")
    made: dict[str, object] = {
        "name": name,
        "ddl": f"{before}; CREATE TABLE {table} ({columns}); {after}",
        "tables": (bare,),
        "seed": f"INSERT INTO {listed} SELECT {seeded} FROM generate_series(1, {SEEDED}) n",
        "insert": (f"INSERT INTO {listed} VALUES ({new})",),
        "update": (f"UPDATE {table} SET {value} = 'updated {{old}}' WHERE {key} = {key_of('{old}')}",),
        "delete": (f"DELETE FROM {table} WHERE {key} = {key_of('{old}')}",),
        "mixed": (
            f"INSERT INTO {listed} VALUES ({mixed})",
            f"UPDATE {table} SET {value} = {value} || ' mixed' WHERE {key} = {key_of('{old}')}",
            f"UPDATE {table} SET {value} = {value} || ' again' WHERE {key} = {key_of('{old}')}",
            f"UPDATE {table} SET {value} = {value} || ' too' WHERE {key} = {key_of('{new}')}",
            f"DELETE FROM {table} WHERE {key} = {key_of('{near}')}",
        ),
        "truncate": (f"TRUNCATE {table}",),
        "faults": {
            "changed": Fault((f"UPDATE {table} SET {value} = 'other' {where}",), place or f"{bare}.{value}"),
            "lost": Fault((f"DELETE FROM {table} {where}",), bare),
            "extra": Fault((f"INSERT INTO {listed} VALUES ({extra})",), bare),
        },
        "described": {bare: described} if described else {},
    }
    return Shape(**{**made, **more})  # pyright: ignore[reportArgumentType]
