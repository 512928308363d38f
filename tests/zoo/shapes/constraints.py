"""Foreign keys, unique and exclusion constraints, and what they demand of the order of writes."""

from comparator.tables import Table
from tests.zoo.one_table import one_table
from tests.zoo.shape import Fault, Shape

SEED_FAMILY = """
INSERT INTO {p} SELECT n, '' FROM generate_series(1, 120) n;
INSERT INTO {c} SELECT n, n, '' FROM generate_series(1, 120) n
"""


def child_faults(child: str) -> dict[str, Fault]:
    """Return the faults on a child (id, p_id, v) whose id is the new number."""
    return {
        "changed": Fault((f"UPDATE {child} SET v = 'other' WHERE id = {{new}}",), f"{child}.v"),
        "lost": Fault((f"DELETE FROM {child} WHERE id = {{new}}",), child),
        "extra": Fault((f"INSERT INTO {child} VALUES ({{new}} + 5000, {{new}}, 'new')",), child),
    }


def family(name: str, stem: str, reference: str = "", **more: object) -> Shape:
    """Return a parent and its children, which change hands."""
    parent, child = f"parent_{stem}", f"child_{stem}"
    made: dict[str, object] = {
        "name": name,
        "ddl": f"""
CREATE TABLE {parent} (id int PRIMARY KEY, v text);
CREATE TABLE {child} (id int PRIMARY KEY, p_id int NOT NULL REFERENCES {parent} {reference}, v text);
""",
        "tables": (parent, child),
        "seed": SEED_FAMILY.replace("{p}", parent).replace("{c}", child),
        "insert": (
            f"INSERT INTO {parent} VALUES ({{new}}, 'new')",
            f"INSERT INTO {child} VALUES ({{new}}, {{new}}, 'new')",
        ),
        # A child moves to a parent of the same transaction.
        "update": (
            f"INSERT INTO {parent} VALUES ({{new}}, 'new')",
            f"UPDATE {child} SET p_id = {{new}} WHERE id = {{old}}",
        ),
        # A child finds another home, and its old one is gone.
        "delete": (
            f"UPDATE {child} SET p_id = {{near}} WHERE id = {{old}}",
            f"DELETE FROM {parent} WHERE id = {{old}}",
        ),
        "mixed": (
            f"INSERT INTO {parent} VALUES ({{new}}, 'new')",
            f"UPDATE {child} SET p_id = {{new}} WHERE p_id IN ({{old}}, {{near}})",
            f"DELETE FROM {parent} WHERE id IN ({{old}}, {{near}})",
            f"INSERT INTO {parent} VALUES ({{old}}, 'again')",
        ),
        "truncate": (f"TRUNCATE {parent}, {child}",),
        "faults": child_faults(child),
    }
    return Shape(**{**made, **more})  # pyright: ignore[reportArgumentType]


SHAPES = (
    family("immediate foreign key", "now"),
    family("deferrable foreign key", "later", "DEFERRABLE INITIALLY DEFERRED"),
    family("foreign key that is deferrable and checked at once", "asked", "DEFERRABLE"),
    family(
        "foreign key with ON DELETE CASCADE",
        "cascade",
        "ON DELETE CASCADE",
        delete=("DELETE FROM parent_cascade WHERE id = {old}",),
        truncate=("TRUNCATE parent_cascade CASCADE",),
    ),
    family(
        "foreign key with ON UPDATE CASCADE",
        "follow",
        "ON UPDATE CASCADE",
        update=("UPDATE parent_follow SET id = {new} WHERE id = {old}",),
    ),
    Shape(
        name="foreign key with ON DELETE SET NULL",
        ddl="""
CREATE TABLE parent_null (id int PRIMARY KEY, v text);
CREATE TABLE child_null (id int PRIMARY KEY, p_id int REFERENCES parent_null ON DELETE SET NULL, v text);
""",
        tables=("parent_null", "child_null"),
        seed=SEED_FAMILY.replace("{p}", "parent_null").replace("{c}", "child_null"),
        insert=("INSERT INTO parent_null VALUES ({new}, '')", "INSERT INTO child_null VALUES ({new}, {new}, 'new')"),
        update=(
            "UPDATE child_null SET p_id = NULL WHERE id = {old}",
            "UPDATE child_null SET p_id = 118 WHERE id = {near}",
        ),
        delete=("DELETE FROM parent_null WHERE id = {old}",),
        mixed=(
            "DELETE FROM parent_null WHERE id = {old}",
            "INSERT INTO parent_null VALUES ({new}, '')",
            "UPDATE child_null SET p_id = {new} WHERE p_id IS NULL AND id IN ({old}, {near})",
        ),
        truncate=("TRUNCATE parent_null CASCADE",),
        faults=child_faults("child_null"),
    ),
    Shape(
        name="foreign key to a table that is not captured",
        ddl="""
CREATE TABLE parent_uncaptured (id int PRIMARY KEY, v text);
CREATE TABLE child_captured (id int PRIMARY KEY, p_id int NOT NULL REFERENCES parent_uncaptured, v text);
""",
        tables=("child_captured",),
        seed=SEED_FAMILY.replace("{p}", "parent_uncaptured").replace("{c}", "child_captured"),
        insert=("INSERT INTO child_captured VALUES ({new}, 120, 'new')",),
        update=("UPDATE child_captured SET p_id = {near} WHERE id = {old}",),
        delete=("DELETE FROM child_captured WHERE id = {old}",),
        mixed=(
            "INSERT INTO child_captured VALUES ({new}, 119, 'new')",
            "UPDATE child_captured SET p_id = 118 WHERE id = {old}",
            "DELETE FROM child_captured WHERE id = {near}",
        ),
        # The shadow never gets this parent, and the child all the same.
        job=(
            "INSERT INTO parent_uncaptured VALUES ({new}, 'new')",
            "INSERT INTO child_captured VALUES ({new}, {new}, 'new')",
        ),
        truncate=("TRUNCATE child_captured",),
        faults={
            **child_faults("child_captured"),
            "extra": Fault(("INSERT INTO child_captured VALUES ({new} + 5000, 117, 'new')",), "child_captured"),
        },
    ),
    Shape(
        name="parent and child with identity keys",
        ddl="""
CREATE TABLE account (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, address text NOT NULL UNIQUE);
CREATE TABLE holding (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, account_id bigint NOT NULL REFERENCES account,
    coin text NOT NULL, amount numeric, UNIQUE (account_id, coin));
""",
        tables=("account", "holding"),
        seed="""
INSERT INTO account (address) SELECT 'a' || n FROM generate_series(1, 120) n;
INSERT INTO holding (account_id, coin, amount) SELECT id, c, 1 FROM account, unnest(ARRAY['x', 'y']) c
""",
        insert=(
            "INSERT INTO account (address) VALUES ('a{new}')",
            "INSERT INTO holding (account_id, coin, amount) SELECT id, c, 2 FROM account, unnest(ARRAY['x', 'y']) c WHERE address = 'a{new}'",
        ),
        update=(
            "UPDATE holding SET amount = amount + 1.50 FROM account a WHERE a.id = account_id AND address = 'a{old}'",
        ),
        delete=(
            "DELETE FROM holding USING account a WHERE a.id = account_id AND address = 'a{old}'",
            "DELETE FROM account WHERE address = 'a{old}'",
        ),
        mixed=(
            # Gone and there again, under other ids.
            "DELETE FROM holding USING account a WHERE a.id = account_id AND address = 'a{old}'",
            "INSERT INTO account (address) VALUES ('a{new}')",
            "INSERT INTO holding (account_id, coin, amount) SELECT id, 'x', 1 FROM account WHERE address IN ('a{new}', 'a{old}')",
            "UPDATE holding SET account_id = (SELECT id FROM account WHERE address = 'a{new}') FROM account a WHERE a.id = account_id AND address = 'a{near}' AND coin = 'y'",
        ),
        truncate=("TRUNCATE account, holding",),
        faults={
            "changed": Fault(
                (
                    "UPDATE holding SET amount = 3 FROM account a WHERE a.id = account_id AND address = 'a{new}' AND coin = 'x'",
                ),
                "holding.amount",
            ),
            "lost": Fault(
                ("DELETE FROM holding USING account a WHERE a.id = account_id AND address = 'a{new}' AND coin = 'x'",),
                "holding",
            ),
            "extra": Fault(
                ("INSERT INTO holding (account_id, coin) SELECT id, 'z' FROM account WHERE address = 'a{new}'",),
                "holding",
            ),
        },
    ),
    Shape(
        name="composite foreign key with an identity",
        ddl="""
CREATE TABLE tenant_item (tenant text, id bigint GENERATED BY DEFAULT AS IDENTITY, sku text, PRIMARY KEY (tenant, id), UNIQUE (tenant, sku));
CREATE TABLE tenant_note (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, tenant text, item_id bigint, v text,
    FOREIGN KEY (tenant, item_id) REFERENCES tenant_item (tenant, id));
""",
        tables=("tenant_item", "tenant_note"),
        seed="""
INSERT INTO tenant_item (tenant, sku) SELECT 't' || n, 'a' FROM generate_series(1, 120) n;
INSERT INTO tenant_note (tenant, item_id, v) SELECT tenant, id, 'seeded' FROM tenant_item
""",
        insert=(
            "INSERT INTO tenant_item (tenant, sku) VALUES ('t{new}', 'a')",
            "INSERT INTO tenant_note (tenant, item_id, v) SELECT tenant, id, 'new' FROM tenant_item WHERE tenant = 't{new}'",
        ),
        update=("UPDATE tenant_note SET v = 'updated' WHERE tenant = 't{old}'",),
        delete=("DELETE FROM tenant_note WHERE tenant = 't{old}'", "DELETE FROM tenant_item WHERE tenant = 't{old}'"),
        mixed=(
            "INSERT INTO tenant_item (tenant, sku) VALUES ('t{old}', 'b')",
            "UPDATE tenant_note SET item_id = (SELECT id FROM tenant_item WHERE tenant = 't{old}' AND sku = 'b') WHERE tenant = 't{old}'",
            "DELETE FROM tenant_note WHERE tenant = 't{near}'",
        ),
        truncate=("TRUNCATE tenant_item, tenant_note",),
        faults={
            "changed": Fault(("UPDATE tenant_note SET v = 'other' WHERE tenant = 't{new}'",), "tenant_note.v"),
            "lost": Fault(("DELETE FROM tenant_note WHERE tenant = 't{new}'",), "tenant_note"),
            "extra": Fault(("INSERT INTO tenant_note (tenant, v) VALUES ('t{new}', 'alone')",), "tenant_note"),
        },
    ),
    Shape(
        name="table that references itself",
        ddl="CREATE TABLE node (id int PRIMARY KEY, parent int REFERENCES node, v text)",
        tables=("node",),
        seed="INSERT INTO node SELECT n, CASE WHEN n % 2 = 0 THEN n - 1 END, 'seeded' FROM generate_series(1, 120) n",
        insert=("INSERT INTO node VALUES ({new}, NULL, 'root'), ({new} + 2000, {new}, 'leaf')",),
        update=("INSERT INTO node VALUES ({new}, NULL, 'root')", "UPDATE node SET parent = {new} WHERE id = {old}"),
        delete=("UPDATE node SET parent = NULL WHERE parent = {near}", "DELETE FROM node WHERE id = {near}"),
        mixed=(
            "INSERT INTO node VALUES ({new}, (SELECT id FROM node WHERE id = {old}), 'new')",
            "UPDATE node SET parent = {new} WHERE id = {old}",
            "UPDATE node SET parent = id WHERE id = {near}",
        ),
        truncate=("TRUNCATE node",),
        faults={
            "changed": Fault(("UPDATE node SET parent = NULL WHERE id = {new} + 2000",), "node.parent"),
            "lost": Fault(("DELETE FROM node WHERE id = {new} + 2000",), "node"),
            "extra": Fault(("INSERT INTO node VALUES ({new} + 4000, {new}, 'leaf')",), "node"),
        },
    ),
    Shape(
        name="row that references itself, with ON UPDATE CASCADE",
        ddl="CREATE TABLE own_root (id int PRIMARY KEY, root int REFERENCES own_root ON UPDATE CASCADE, v text)",
        tables=("own_root",),
        seed="INSERT INTO own_root SELECT n, n, 'seeded' FROM generate_series(1, 120) n",
        insert=("INSERT INTO own_root VALUES ({new}, {new}, 'root'), ({new} + 2000, {new}, 'leaf')",),
        update=("UPDATE own_root SET id = {new} WHERE id = {old}",),
        delete=("DELETE FROM own_root WHERE id = {old}",),
        mixed=(
            "INSERT INTO own_root SELECT n, (SELECT id FROM own_root WHERE id = {old}), 'new' FROM unnest(ARRAY[{new}, {new} + 2000]) n",
            "UPDATE own_root SET id = id + 100000, v = 'moved' WHERE root = {old}",
            "DELETE FROM own_root WHERE id = {near}",
        ),
        truncate=("TRUNCATE own_root",),
        faults={
            "changed": Fault(("UPDATE own_root SET v = 'other' WHERE id = {new}",), "own_root.v"),
            "lost": Fault(("DELETE FROM own_root WHERE id = {new} + 2000",), "own_root"),
            "extra": Fault(("INSERT INTO own_root VALUES ({new} + 4000, {new}, 'leaf')",), "own_root"),
        },
    ),
    Shape(
        name="tree with identity keys",
        ddl="""
CREATE TABLE comment (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, parent_id bigint REFERENCES comment, topic text, v text)
""",
        tables=("comment",),
        seed="INSERT INTO comment (topic, v) SELECT 't' || n, 'first' FROM generate_series(1, 120) n",
        insert=(
            "INSERT INTO comment (topic, v) VALUES ('t{new}', 'first')",
            "INSERT INTO comment (parent_id, topic, v) SELECT id, topic, 'second' FROM comment WHERE topic = 't{new}'",
            "INSERT INTO comment (parent_id, topic, v) SELECT id, topic, 'third' FROM comment WHERE topic = 't{new}' AND v = 'second'",
        ),
        update=("UPDATE comment SET v = 'updated' WHERE topic = 't{old}'",),
        delete=("DELETE FROM comment WHERE topic = 't{old}'",),
        mixed=(
            "INSERT INTO comment (parent_id, topic, v) SELECT id, topic, 'reply' FROM comment WHERE topic = 't{old}'",
            "UPDATE comment SET parent_id = (SELECT id FROM comment WHERE v = 'reply' AND topic = 't{old}') WHERE topic = 't{near}'",
        ),
        truncate=("TRUNCATE comment",),
        faults={
            "changed": Fault(("UPDATE comment SET v = 'other' WHERE topic = 't{new}' AND v = 'third'",), "comment.v"),
            "lost": Fault(("DELETE FROM comment WHERE topic = 't{new}' AND v = 'third'",), "comment"),
            "extra": Fault(("INSERT INTO comment (topic, v) VALUES ('t{new}', 'fourth')",), "comment"),
        },
    ),
    Shape(
        name="cycle of foreign keys",
        ddl="""
CREATE TABLE ring_a (id int PRIMARY KEY, b int, v text);
CREATE TABLE ring_b (id int PRIMARY KEY, p_id int NOT NULL REFERENCES ring_a, v text);
ALTER TABLE ring_a ADD FOREIGN KEY (b) REFERENCES ring_b;
""",
        tables=("ring_a", "ring_b"),
        seed="""
INSERT INTO ring_a SELECT n, NULL, '' FROM generate_series(1, 120) n;
INSERT INTO ring_b SELECT n, n, '' FROM generate_series(1, 120) n;
UPDATE ring_a SET b = id
""",
        insert=(
            "INSERT INTO ring_a VALUES ({new}, NULL, 'new')",
            "INSERT INTO ring_b VALUES ({new}, {new}, 'new')",
            "UPDATE ring_a SET b = {new} WHERE id = {new}",
        ),
        update=("UPDATE ring_a SET b = {near} WHERE id = {old}", "UPDATE ring_b SET p_id = {near} WHERE id = {old}"),
        delete=(
            "UPDATE ring_a SET b = NULL WHERE b = {old}",
            "DELETE FROM ring_b WHERE id = {old}",
            "DELETE FROM ring_a WHERE id = {old}",
        ),
        mixed=(
            "INSERT INTO ring_a VALUES ({new}, (SELECT id FROM ring_b WHERE id = {old}), 'new')",
            "UPDATE ring_b SET p_id = {new} WHERE id = {old}",
            "UPDATE ring_a SET b = NULL WHERE id = {old}",
            "DELETE FROM ring_a WHERE id = {old}",
        ),
        truncate=("TRUNCATE ring_a, ring_b",),
        faults={name: fault for name, fault in child_faults("ring_b").items() if name != "lost"},
    ),
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
    Shape(
        name="unique values that move on, and a partial unique index",
        ddl="""
CREATE TABLE listed (id int PRIMARY KEY, pos int NOT NULL, live boolean NOT NULL, name text);
CREATE UNIQUE INDEX ON listed (pos) WHERE live;
CREATE UNIQUE INDEX ON listed (lower(name));
""",
        tables=("listed",),
        seed="INSERT INTO listed SELECT n, n, true, 'Name ' || n FROM generate_series(1, 120) n",
        insert=("INSERT INTO listed VALUES ({new}, {new}, true, 'Name {new}'), ({new} + 2000, {new}, false, NULL)",),
        update=(
            "UPDATE listed SET live = false WHERE id = {old}",
            "UPDATE listed SET pos = {old} WHERE id = {near}",
            "UPDATE listed SET name = name || '!' WHERE id IN ({old}, {near})",
        ),
        delete=("DELETE FROM listed WHERE id = {old}", "INSERT INTO listed VALUES ({new}, {old}, true, 'NAME {old}')"),
        mixed=(
            "UPDATE listed SET live = false, name = NULL WHERE id = {old}",
            "INSERT INTO listed VALUES ({new}, {old}, true, 'NAME {old}')",
            "UPDATE listed SET pos = pos + 100000 WHERE id = {near}",
        ),
        truncate=("TRUNCATE listed",),
        faults={
            "changed": Fault(("UPDATE listed SET name = 'NAME {new}' WHERE id = {new}",), "listed.name"),
            "lost": Fault(("DELETE FROM listed WHERE id = {new}",), "listed"),
            "extra": Fault(("INSERT INTO listed VALUES ({new} + 5000, {new} + 5000, true, NULL)",), "listed"),
        },
    ),
    Shape(
        name="EXCLUDE values swapped",
        ddl="CREATE TABLE booking (id int PRIMARY KEY, slot int4range, EXCLUDE USING gist (slot WITH &&))",
        tables=("booking",),
        seed="INSERT INTO booking SELECT n, int4range(n * 10, n * 10 + 5) FROM generate_series(1, 120) n",
        insert=("INSERT INTO booking VALUES ({new}, int4range({new} * 10, {new} * 10 + 5))",),
        update=(
            "UPDATE booking SET slot = int4range(1000000, 1000001) WHERE id = {old}",
            "UPDATE booking SET slot = int4range({old} * 10, {old} * 10 + 5) WHERE id = {near}",
            "UPDATE booking SET slot = int4range({near} * 10, {near} * 10 + 5) WHERE id = {old}",
        ),
        delete=(
            "DELETE FROM booking WHERE id = {old}",
            "UPDATE booking SET slot = int4range({old} * 10, {old} * 10 + 9) WHERE id = {near}",
        ),
        mixed=(
            "DELETE FROM booking WHERE id = {old}",
            "INSERT INTO booking VALUES ({new}, int4range({old} * 10 + 1, {old} * 10 + 5))",
            "UPDATE booking SET slot = 'empty' WHERE id = {near}",
        ),
        truncate=("TRUNCATE booking",),
        faults={
            "changed": Fault(("UPDATE booking SET slot = 'empty' WHERE id = {new}",), "booking.slot"),
            "lost": Fault(("DELETE FROM booking WHERE id = {new}",), "booking"),
            "extra": Fault(("INSERT INTO booking VALUES ({new} + 5000, 'empty')",), "booking"),
        },
    ),
    one_table(
        "check constraints and columns that are not null",
        "checked",
        columns="k int PRIMARY KEY, v text NOT NULL CHECK (v <> ''), w int NOT NULL DEFAULT 3 CHECK (w > 0)",
        insert_columns="k, v",
        row="{n}",
        values="{n}, {v}",
    ),
    one_table(
        "unique constraint that treats NULLs as equal",
        "nulls_equal",
        columns="id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, k text, w text, v text, UNIQUE NULLS NOT DISTINCT (k, w)",
        insert_columns="k, v",
        row="('k' || {n})",
        values="'k' || {n}, {v}",
        since=15,
    ),
    one_table(
        "two unique constraints, described",
        "twice_unique",
        columns="id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, k text UNIQUE, w text UNIQUE, v text",
        insert_columns="k, w, v",
        row="('k' || {n})",
        values="'k' || {n}, 'w' || {n}, {v}",
        described=Table(natural_key=("w",)),
    ),
)
