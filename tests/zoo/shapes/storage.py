"""Partitions, inheritance, unlogged tables, foreign tables, row level security."""

from tests.zoo.one_table import one_table
from tests.zoo.shape import Fault, Shape


def partitioned(name: str, table: str, by: str, partitions: str, **more: object) -> Shape:
    """Return a partitioned table with the key (k, part); the seed has parts 0 to 3, and `part` 3 is where rows move to."""
    made: dict[str, object] = {
        "name": name,
        "ddl": f"CREATE TABLE {table} (k int, part int, v text, PRIMARY KEY (k, part)) PARTITION BY {by}; {partitions}",
        "tables": (table,),
        "seed": f"INSERT INTO {table} SELECT n, n % 3, 'seeded' FROM generate_series(1, 120) n",
        "insert": (f"INSERT INTO {table} VALUES ({{new}}, 0, 'new'), ({{new}}, 1, 'new')",),
        # The row moves to another partition.
        "update": (f"UPDATE {table} SET part = 3, v = 'moved' WHERE k = {{old}}",),
        "delete": (f"DELETE FROM {table} WHERE k = {{old}}",),
        "mixed": (
            f"INSERT INTO {table} VALUES ({{new}}, 0, 'new')",
            f"UPDATE {table} SET part = 3 WHERE k IN ({{new}}, {{old}})",
            f"UPDATE {table} SET part = 2, v = 'back' WHERE k = {{new}}",
            f"DELETE FROM {table} WHERE k = {{near}}",
        ),
        "truncate": (f"TRUNCATE {table}",),
        "faults": {
            "changed": Fault((f"UPDATE {table} SET v = 'other' WHERE k = {{new}} AND part = 1",), f"{table}.v"),
            "lost": Fault((f"DELETE FROM {table} WHERE k = {{new}} AND part = 1",), table),
            "extra": Fault((f"INSERT INTO {table} VALUES ({{new}}, 2, 'new')",), table),
        },
    }
    return Shape(**{**made, **more})  # pyright: ignore[reportArgumentType]


SHAPES = (
    partitioned(
        "partitioned by range",
        "by_range",
        "RANGE (part)",
        "CREATE TABLE by_range_low PARTITION OF by_range FOR VALUES FROM (0) TO (2); "
        "CREATE TABLE by_range_high PARTITION OF by_range FOR VALUES FROM (2) TO (9)",
    ),
    partitioned(
        "partitioned by list, with a default partition",
        "by_list",
        "LIST (part)",
        "CREATE TABLE by_list_even PARTITION OF by_list FOR VALUES IN (0, 2); CREATE TABLE by_list_rest PARTITION OF by_list DEFAULT",
    ),
    partitioned(
        "partitioned by hash",
        "by_hash",
        "HASH (part)",
        "CREATE TABLE by_hash_0 PARTITION OF by_hash FOR VALUES WITH (MODULUS 2, REMAINDER 0); "
        "CREATE TABLE by_hash_1 PARTITION OF by_hash FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
    ),
    partitioned(
        "partitioned in two levels, with other column orders",
        "by_levels",
        "RANGE (part)",
        "CREATE TABLE by_levels_low PARTITION OF by_levels FOR VALUES FROM (0) TO (2) PARTITION BY LIST (part); "
        "CREATE TABLE by_levels_0 (v text, part int NOT NULL, k int NOT NULL, PRIMARY KEY (k, part)); "
        "ALTER TABLE by_levels_low ATTACH PARTITION by_levels_0 FOR VALUES IN (0); "
        "CREATE TABLE by_levels_1 PARTITION OF by_levels_low FOR VALUES IN (1); "
        "CREATE TABLE by_levels_high PARTITION OF by_levels FOR VALUES FROM (2) TO (9)",
    ),
    Shape(
        name="inheritance",
        ddl="""
CREATE TABLE animal (id int PRIMARY KEY, v text);
CREATE TABLE dog (bark text) INHERITS (animal);
ALTER TABLE dog ADD PRIMARY KEY (id);
""",
        tables=("animal", "dog"),
        seed="""
INSERT INTO animal SELECT n, 'seeded' FROM generate_series(1, 120) n;
INSERT INTO dog SELECT n, 'seeded', 'wau' FROM generate_series(1, 120) n
""",
        insert=("INSERT INTO animal VALUES ({new}, 'new')", "INSERT INTO dog VALUES ({new}, 'new', 'wau')"),
        # Also the rows of the child.
        update=("UPDATE animal SET v = 'updated' WHERE id = {old}",),
        delete=("DELETE FROM animal WHERE id = {old}",),
        mixed=(
            "INSERT INTO dog VALUES ({new}, 'new', 'wau')",
            "UPDATE ONLY animal SET v = 'only' WHERE id = {old}",
            "UPDATE dog SET bark = 'wuff' WHERE id IN ({new}, {old})",
            "DELETE FROM animal WHERE id = {near}",
        ),
        truncate=("TRUNCATE animal",),
        faults={
            "changed": Fault(("UPDATE dog SET bark = 'miau' WHERE id = {new}",), "dog.bark"),
            "lost": Fault(("DELETE FROM ONLY animal WHERE id = {new}",), "animal"),
            "extra": Fault(("INSERT INTO dog VALUES ({new} + 5000, 'new', 'wau')",), "dog"),
        },
    ),
    Shape(
        name="inheritance with a child without a key, which is not named",
        ddl="""
CREATE TABLE vehicle (id int PRIMARY KEY, v text);
CREATE TABLE car (doors int) INHERITS (vehicle);
""",
        tables=("vehicle",),
        seed="INSERT INTO vehicle SELECT n, 'seeded' FROM generate_series(1, 120) n; INSERT INTO car VALUES (1, 'seeded', 4)",
        insert=("INSERT INTO vehicle VALUES ({new}, 'new')",),
        update=("UPDATE ONLY vehicle SET v = 'updated' WHERE id = {old}", "UPDATE car SET doors = 5"),
        delete=("DELETE FROM ONLY vehicle WHERE id = {old}",),
        mixed=(
            "INSERT INTO vehicle VALUES ({new}, 'new')",
            "UPDATE vehicle SET v = 'both' WHERE id = {old}",
            "DELETE FROM ONLY vehicle WHERE id = {near}",
        ),
        truncate=("TRUNCATE ONLY vehicle",),
        faults={
            "changed": Fault(("UPDATE ONLY vehicle SET v = 'other' WHERE id = {new}",), "vehicle.v"),
            "lost": Fault(("DELETE FROM ONLY vehicle WHERE id = {new}",), "vehicle"),
            "extra": Fault(("INSERT INTO vehicle VALUES ({new} + 5000, 'new')",), "vehicle"),
        },
    ),
    one_table(
        "unlogged table",
        "unlogged",
        columns="k int PRIMARY KEY, v text",
        after="ALTER TABLE unlogged SET UNLOGGED",
        row="{n}",
        values="{n}, {v}",
        refused="unlogged",
    ),
    one_table(
        "row level security, read by a role that bypasses it",
        "secured",
        columns="k int PRIMARY KEY, v text",
        row="{n}",
        values="{n}, {v}",
        after="ALTER TABLE secured ENABLE ROW LEVEL SECURITY; ALTER TABLE secured FORCE ROW LEVEL SECURITY; CREATE POLICY none ON secured USING (false)",
    ),
    one_table(
        "replica identity NOTHING before",
        "identity_nothing",
        columns="k int PRIMARY KEY, v text",
        after="ALTER TABLE identity_nothing REPLICA IDENTITY NOTHING",
        row="{n}",
        values="{n}, {v}",
    ),
    one_table(
        "replica identity USING INDEX before",
        "identity_index",
        columns="id int PRIMARY KEY, k text NOT NULL, v text",
        after="CREATE UNIQUE INDEX identity_index_k ON identity_index (k); ALTER TABLE identity_index REPLICA IDENTITY USING INDEX identity_index_k",
        row="('k' || {n})",
        values="{n}, 'k' || {n}, {v}",
    ),
    one_table(
        "table in a publication of the application",
        "published_before",
        columns="k int PRIMARY KEY, v text",
        after="CREATE PUBLICATION theirs FOR TABLE published_before",
        row="{n}",
        values="{n}, {v}",
    ),
)
