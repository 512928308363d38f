"""Foreign keys, unique and exclusion constraints, and what they demand of the order of writes."""

from tests.zoo.shape import Fault, Shape

FAMILY = """
CREATE TABLE {p} (id int PRIMARY KEY, v text);
CREATE TABLE {c} (id int PRIMARY KEY, p_id int NOT NULL REFERENCES {p} {deferred}, v text);
"""


def family(name: str, parent: str, child: str, deferred: str = "") -> Shape:
    """Return a parent and its children, which change hands."""
    ddl = FAMILY.replace("{p}", parent).replace("{c}", child).replace("{deferred}", deferred)
    return Shape(
        name=name,
        ddl=ddl,
        tables=(parent, child),
        seed=f"""
INSERT INTO {parent} SELECT n, '' FROM generate_series(1, 120) n;
INSERT INTO {child} SELECT n, n, '' FROM generate_series(1, 120) n
""",
        insert=(
            f"INSERT INTO {parent} VALUES ({{new}}, 'new')",
            f"INSERT INTO {child} VALUES ({{new}}, {{new}}, 'new')",
        ),
        # A child moves to a parent of the same transaction.
        update=(
            f"INSERT INTO {parent} VALUES ({{new}}, 'new')",
            f"UPDATE {child} SET p_id = {{new}} WHERE id = {{old}}",
        ),
        # A child finds another home, and its old one is gone.
        delete=(
            f"UPDATE {child} SET p_id = {{near}} WHERE id = {{old}}",
            f"DELETE FROM {parent} WHERE id = {{old}}",
        ),
        mixed=(
            f"INSERT INTO {parent} VALUES ({{new}}, 'new')",
            f"UPDATE {child} SET p_id = {{new}} WHERE p_id IN ({{old}}, {{near}})",
            f"DELETE FROM {parent} WHERE id IN ({{old}}, {{near}})",
            f"INSERT INTO {parent} VALUES ({{old}}, 'again')",
        ),
        truncate=(f"TRUNCATE {parent}, {child}",),
        faults={
            "changed": Fault((f"UPDATE {child} SET v = 'other' WHERE id = {{new}}",), f"{child}.v"),
            "lost": Fault((f"DELETE FROM {child} WHERE id = {{new}}",), child),
            "extra": Fault((f"INSERT INTO {child} VALUES ({{new}} + 5000, {{new}}, 'new')",), child),
        },
    )


SHAPES = (
    family("immediate foreign key", "parent_now", "child_now"),
    family("deferrable foreign key", "parent_later", "child_later", "DEFERRABLE INITIALLY DEFERRED"),
    Shape(
        name="unique values swapped",
        ddl="CREATE TABLE ranked (id int PRIMARY KEY, pos int UNIQUE)",
        tables=("ranked",),
        seed="INSERT INTO ranked SELECT n, n FROM generate_series(1, 120) n",
        insert=("INSERT INTO ranked VALUES ({new}, {new})",),
        update=(
            "UPDATE ranked SET pos = -1 WHERE id = {old}",
            "UPDATE ranked SET pos = {old} WHERE id = {near}",
            "UPDATE ranked SET pos = {near} WHERE id = {old}",
        ),
        delete=("DELETE FROM ranked WHERE id = {old}", "UPDATE ranked SET pos = {old} WHERE id = {near}"),
        mixed=(
            "DELETE FROM ranked WHERE id = {old}",
            "INSERT INTO ranked VALUES ({new}, {old})",
            "UPDATE ranked SET pos = {new} WHERE id = {near}",
        ),
        truncate=("TRUNCATE ranked",),
        faults={
            "changed": Fault(("UPDATE ranked SET pos = -{new} WHERE id = {new}",), "ranked.pos"),
            "lost": Fault(("DELETE FROM ranked WHERE id = {new}",), "ranked"),
            "extra": Fault(("INSERT INTO ranked VALUES ({new} + 5000, {new} + 5000)",), "ranked"),
        },
    ),
)
