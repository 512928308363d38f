"""Tables of many shapes, with work that moves their rows, for tests of what writes rows: each shape lives in a schema of its own."""

from dataclasses import dataclass

PARENT_AND_CHILD = """
CREATE TABLE parent (id int PRIMARY KEY, v text);
CREATE TABLE child (id int PRIMARY KEY, parent_id int NOT NULL REFERENCES parent {action}, v text);
INSERT INTO parent VALUES (1, 'a'), (2, 'b'); INSERT INTO child VALUES (1, 1, 'x'), (2, 2, 'y');
"""
TOUCH = """
CREATE TABLE item (id int PRIMARY KEY, v text, touched_at timestamptz, version int NOT NULL DEFAULT 0);
INSERT INTO item VALUES (1, 'a', now(), 1), (2, 'b', now(), 1);
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN NEW.touched_at := clock_timestamp(); NEW.version := NEW.version + 1; RETURN NEW; END $$;
CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON item FOR EACH ROW EXECUTE FUNCTION touch();
"""
AUDIT = """
CREATE TABLE item (id int PRIMARY KEY, v text); INSERT INTO item VALUES (1, 'a');
CREATE TABLE audit (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, item int, op text, at timestamptz DEFAULT clock_timestamp());
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO audit (item, op) VALUES (coalesce(NEW.id, OLD.id), TG_OP); RETURN NULL; END $$;
CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON item FOR EACH ROW EXECUTE FUNCTION note();
"""
TYPES = """
CREATE TYPE mood AS ENUM ('sad', 'so so', 'happy');
CREATE DOMAIN percent AS numeric(5,2) CHECK (VALUE BETWEEN 0 AND 100);
CREATE TYPE spot AS (x int, label text);
CREATE TABLE item (id int PRIMARY KEY, b boolean, c char(5), n numeric, f float8, r real, i interval, t timestamptz, d date, u uuid,
    raw bytea, j json, jb jsonb, a int[], ta text[], m mood, ma mood[], p percent, s spot, sa spot[], rng int4range, mr int4multirange,
    ip inet, net cidr, mac macaddr, bits bit(4), vb varbit, pt point, pg polygon, ts tsvector, vc varchar(5), ch "char", tm timetz,
    money money, o oid, ba boolean[]);
INSERT INTO item (id, b, s) VALUES (1, true, ROW(NULL, NULL)), (2, NULL, NULL), (3, false, ROW(1, 'x'));
"""
TYPES_WORK = """
INSERT INTO item VALUES (4, false, 'ab', 1.10, '-0', 'NaN', '-1 mon 3 days -04:05:06.7', 'infinity', '-infinity', gen_random_uuid(),
    '\\x00ff5c', '{"a":  1, "a": 2}', '{"b": 1.0}', '[0:1]={1,NULL}', '{"a b","NULL",NULL,""}', 'so so', '{sad,NULL}', 12.5,
    ROW(1, 'q"u, o(te)\\'), ARRAY[ROW(1, NULL)::spot, NULL], '(,5)', '{[1,3),[7,9)}', '10.0.0.1', '10.0.0.0/8', '08:00:2b:01:02:03',
    '1010', '1', '(1,-0)', '((0,0),(1,1),(1,0))', 'a:1 b:2A', 'ünï', '~', '10:00+02', 1234.5, 4294967295, '{t,f,NULL}');
UPDATE item SET f = 'Infinity', b = NOT b, c = 'x', s = ROW(NULL, NULL), t = '0044-03-15 00:00 BC', vc = '' WHERE id IN (1, 3);
DELETE FROM item WHERE id = 2;
"""


@dataclass(frozen=True)
class RowShape:
    """A shape of tables.

    Attributes:
        name: for the test's id.
        tables: names of the captured tables, without their schema.
        setup: statements that make the tables, and their first rows.
        work: statements of one transaction; the tables can be written with them from the state of `setup`.
        refused: part of the reason for which a role that cannot use the replica role cannot write the tables; "" where it can.
    """

    name: str
    tables: tuple[str, ...]
    setup: str
    work: str
    refused: str = ""


def _keyed(kind: str, values: str, work: str) -> tuple[tuple[str, ...], str, str]:
    return ("item",), f"CREATE TABLE item (id {kind} PRIMARY KEY, v text); INSERT INTO item VALUES {values};", work


ROW_SHAPES = (
    RowShape(
        "child moves to a new parent",
        ("parent", "child"),
        PARENT_AND_CHILD.format(action=""),
        "INSERT INTO parent VALUES (3, ''); UPDATE child SET parent_id = 3 WHERE id = 1;",
    ),
    RowShape(
        "old parent is deleted",
        ("parent", "child"),
        PARENT_AND_CHILD.format(action=""),
        "UPDATE child SET parent_id = 1 WHERE id = 2; DELETE FROM parent WHERE id = 2;",
    ),
    RowShape(
        "parent changes its key",
        ("parent", "child"),
        PARENT_AND_CHILD.format(action="ON UPDATE CASCADE"),
        "UPDATE parent SET id = 9 WHERE id = 1;",
    ),
    RowShape(
        "parent takes its children along",
        ("parent", "child"),
        PARENT_AND_CHILD.format(action="ON UPDATE CASCADE ON DELETE CASCADE"),
        "DELETE FROM parent WHERE id = 1; UPDATE parent SET id = 9, v = 'z' WHERE id = 2; INSERT INTO parent VALUES (1, 'again');",
    ),
    RowShape(
        "parent leaves its children",
        ("parent", "child"),
        PARENT_AND_CHILD.format(action="ON DELETE SET NULL").replace("int NOT NULL", "int"),
        "DELETE FROM parent WHERE id = 1; UPDATE parent SET v = 'z';",
    ),
    RowShape(
        "foreign keys in a circle",
        ("a", "b"),
        "CREATE TABLE a (id int PRIMARY KEY, b int); CREATE TABLE b (id int PRIMARY KEY, a int NOT NULL REFERENCES a); "
        "ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b;",
        "INSERT INTO a VALUES (1, NULL); INSERT INTO b VALUES (1, 1); UPDATE a SET b = 1;",
    ),
    RowShape(
        "tree",
        ("node",),
        "CREATE TABLE node (id int PRIMARY KEY, up int REFERENCES node ON DELETE CASCADE); INSERT INTO node VALUES (1, NULL), (2, 1), (3, 2);",
        "INSERT INTO node VALUES (5, 1); UPDATE node SET up = 5 WHERE id = 3; DELETE FROM node WHERE id = 2;",
    ),
    RowShape(
        "unique values swapped",
        ("item",),
        "CREATE TABLE item (id int PRIMARY KEY, place int UNIQUE, v text); INSERT INTO item VALUES (1, 1, 'a'), (2, 2, 'b'), (3, 3, 'c');",
        "UPDATE item SET place = -1 WHERE id = 1; UPDATE item SET place = 1 WHERE id = 2; UPDATE item SET place = 2 WHERE id = 1;",
    ),
    RowShape(
        "unique values swapped of referenced rows",
        ("parent", "child"),
        PARENT_AND_CHILD.format(action="ON DELETE CASCADE") + "ALTER TABLE parent ADD UNIQUE (v);",
        "UPDATE parent SET v = 'tmp' WHERE id = 1; UPDATE parent SET v = 'a' WHERE id = 2; UPDATE parent SET v = 'b' WHERE id = 1;",
        refused="UNIQUE or EXCLUDE",
    ),
    RowShape(
        "unique expression handed on",
        ("item",),
        "CREATE TABLE item (id int PRIMARY KEY, v text); CREATE UNIQUE INDEX ON item (lower(v)); INSERT INTO item VALUES (1, 'a'), (2, 'b');",
        "UPDATE item SET v = 'c' WHERE id = 1; UPDATE item SET v = 'A' WHERE id = 2; INSERT INTO item VALUES (3, 'B');",
    ),
    RowShape(
        "excluded ranges swapped",
        ("item",),
        "CREATE TABLE item (id int PRIMARY KEY, r int4range, EXCLUDE USING gist (r WITH &&)); "
        "INSERT INTO item SELECT i, int4range(i * 10, i * 10 + 5) FROM generate_series(1, 2) i;",
        "UPDATE item SET r = int4range(1000, 1001) WHERE id = 1; UPDATE item SET r = int4range(10, 15) WHERE id = 2; "
        "UPDATE item SET r = int4range(20, 25) WHERE id = 1;",
    ),
    RowShape(
        "deferrable primary key",
        ("item",),
        "CREATE TABLE item (id int PRIMARY KEY DEFERRABLE, v text); INSERT INTO item VALUES (1, 'a'), (2, 'b');",
        "INSERT INTO item VALUES (3, 'c'); UPDATE item SET id = 3 - id WHERE id < 3;",
    ),
    RowShape(
        "rule",
        ("item",),
        "CREATE TABLE item (id int PRIMARY KEY, v text); CREATE RULE also AS ON UPDATE TO item DO ALSO NOTHING; INSERT INTO item VALUES (1, 'a');",
        "INSERT INTO item VALUES (2, 'b'); UPDATE item SET v = 'c' WHERE id = 1;",
        refused="rule also",
    ),
    RowShape(
        "row is touched by a trigger",
        ("item",),
        TOUCH,
        "UPDATE item SET v = 'c' WHERE id = 1; INSERT INTO item VALUES (3, 'd'); DELETE FROM item WHERE id = 2;",
        refused="trigger touch",
    ),
    RowShape(
        "audit table is filled by a trigger",
        ("item", "audit"),
        AUDIT,
        "UPDATE item SET v = 'c' WHERE id = 1; INSERT INTO item VALUES (3, 'd'); DELETE FROM item WHERE id = 1;",
        refused="trigger note",
    ),
    RowShape(
        "identity that is always generated",
        ("item",),
        "CREATE TABLE item (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text, n int); INSERT INTO item (v) VALUES ('a'), ('b');",
        "INSERT INTO item (v) VALUES ('c'); UPDATE item SET v = 'd' WHERE v = 'a'; DELETE FROM item WHERE v = 'b';",
    ),
    RowShape(
        "identity besides the key",
        ("item",),
        "CREATE TABLE item (id text PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY, v text); INSERT INTO item (id) VALUES ('a'), ('b');",
        "UPDATE item SET n = DEFAULT WHERE id = 'a'; INSERT INTO item (id) VALUES ('c'); UPDATE item SET v = 'x' WHERE id = 'b';",
    ),
    RowShape(
        "stored generated column",
        ("item",),
        "CREATE TABLE item (id int PRIMARY KEY, v int, twice int GENERATED ALWAYS AS (v * 2) STORED); INSERT INTO item (id, v) VALUES (1, 1), (2, 2);",
        "UPDATE item SET v = 5 WHERE id = 1; INSERT INTO item (id, v) VALUES (3, 3); DELETE FROM item WHERE id = 2;",
    ),
    RowShape(
        "row moves between partitions",
        ("item",),
        "CREATE TABLE item (id int, day date, v text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day); "
        "CREATE TABLE item_1 PARTITION OF item FOR VALUES FROM ('2026-01-01') TO ('2026-02-01'); "
        "CREATE TABLE item_2 (v text, day date NOT NULL, dropped int, id int NOT NULL); ALTER TABLE item_2 DROP dropped; "
        "ALTER TABLE item ATTACH PARTITION item_2 FOR VALUES FROM ('2026-02-01') TO ('2026-03-01'); "
        "INSERT INTO item VALUES (1, '2026-01-05', 'a'), (2, '2026-02-05', 'b'); ALTER TABLE item REPLICA IDENTITY FULL;",
        "UPDATE item SET day = '2026-02-10' WHERE id = 1; UPDATE item SET v = 'c' WHERE id = 2; INSERT INTO item VALUES (3, '2026-01-07', 'd');",
    ),
    RowShape(
        "inheritance",
        ("above", "below"),
        "CREATE TABLE above (id int PRIMARY KEY, v text); CREATE TABLE below (more int, PRIMARY KEY (id)) INHERITS (above); "
        "INSERT INTO above VALUES (1, 'a'), (2, 'b'); INSERT INTO below VALUES (1, 'c', 1), (5, 'd', 2);",
        "UPDATE above SET v = 'x' WHERE id = 1; DELETE FROM ONLY above WHERE id = 2; INSERT INTO below VALUES (2, 'e', 3);",
    ),
    RowShape(
        "no primary key",
        ("item",),
        "CREATE TABLE item (v text, n int); INSERT INTO item VALUES ('a', 1), ('a', 1), ('a', 1), ('b', NULL), (NULL, NULL), (NULL, NULL);",
        "DELETE FROM item WHERE ctid = (SELECT min(ctid) FROM item WHERE v = 'a'); UPDATE item SET n = 2 WHERE v IS NULL; "
        "INSERT INTO item VALUES ('a', 1), ('b', NULL);",
    ),
    RowShape(
        "no primary key and no equality",
        ("item",),
        "CREATE TABLE item (f float8, j json, p point); "
        "INSERT INTO item VALUES ('-0', '{\"a\": 1}', '(0,0)'), (0, '{\"a\": 1}', '(0,0)'), ('NaN', '{\"a\":1}', NULL), ('NaN', NULL, NULL);",
        "DELETE FROM item WHERE f::text = '-0'; UPDATE item SET j = '{\"a\":  1}' WHERE f = 'NaN' AND j IS NOT NULL;",
    ),
    RowShape(
        "unique constraint without a primary key",
        ("item",),
        "CREATE TABLE item (n int UNIQUE, v text); INSERT INTO item VALUES (1, 'a'), (2, 'b');",
        "UPDATE item SET n = -1 WHERE n = 1; UPDATE item SET n = 1 WHERE n = 2; UPDATE item SET n = 2 WHERE n = -1;",
    ),
    RowShape("every type", ("item",), TYPES, TYPES_WORK),
    RowShape(
        "boolean key",
        *_keyed("boolean", "(true, 'a'), (false, 'b')", "DELETE FROM item WHERE id; UPDATE item SET v = 'c';"),
    ),
    RowShape(
        "padded key",
        *_keyed(
            "char(6)",
            "('a', 'a'), ('b ', 'b')",
            "UPDATE item SET v = 'c' WHERE id = 'a'; DELETE FROM item WHERE id = 'b';",
        ),
    ),
    RowShape(
        "address key",
        *_keyed(
            "inet",
            "('10.0.0.1', 'a'), ('::1', 'b')",
            "UPDATE item SET v = 'c'; INSERT INTO item VALUES ('10.0.0.0/8', 'd');",
        ),
    ),
    RowShape(
        "numeric key",
        *_keyed("numeric", "(1.0, 'a'), ('NaN', 'b')", "UPDATE item SET v = 'c'; UPDATE item SET id = 1 WHERE id = 1;"),
    ),
    RowShape(
        "time key",
        *_keyed(
            "timestamptz",
            "(now(), 'a'), ('infinity', 'b')",
            "UPDATE item SET v = 'c'; INSERT INTO item VALUES ('-infinity', '');",
        ),
    ),
    RowShape(
        "names with dots, quotes and capitals",
        ('It"em.Two',),
        'CREATE TABLE "It""em.Two" ("The.Id" int PRIMARY KEY, "number of copies" text, "select" int); '
        "INSERT INTO \"It\"\"em.Two\" VALUES (1, 'a', 1), (2, 'b', 2);",
        'UPDATE "It""em.Two" SET "select" = 7 WHERE "The.Id" = 1; DELETE FROM "It""em.Two" WHERE "The.Id" = 2;',
    ),
    RowShape(
        "nothing but a key",
        ("item",),
        "CREATE TABLE item (a int, b text, PRIMARY KEY (b, a)); INSERT INTO item VALUES (1, 'x'), (2, 'y');",
        "UPDATE item SET a = 3 WHERE a = 1; DELETE FROM item WHERE a = 2; INSERT INTO item VALUES (1, 'z');",
    ),
    RowShape(
        "rows before and after a truncate",
        ("item",),
        "CREATE TABLE item (id int PRIMARY KEY, v text); INSERT INTO item VALUES (1, 'a'), (2, 'b');",
        "INSERT INTO item VALUES (3, 'c'); UPDATE item SET v = 'd' WHERE id = 1; TRUNCATE item; INSERT INTO item VALUES (1, 'e'), (4, 'f');",
    ),
    RowShape(
        "truncate of a referenced table",
        ("parent", "child"),
        PARENT_AND_CHILD.format(action=""),
        "TRUNCATE parent CASCADE; INSERT INTO parent VALUES (7, 'new'); INSERT INTO child VALUES (7, 7, 'new');",
    ),
    RowShape(
        "large value that an update leaves alone",
        ("item",),
        "CREATE TABLE item (id int PRIMARY KEY, body text, v int); ALTER TABLE item ALTER body SET STORAGE EXTERNAL; "
        "INSERT INTO item SELECT i, repeat('x', 9000), 1 FROM generate_series(1, 2) i;",
        "UPDATE item SET v = 2; INSERT INTO item VALUES (3, repeat('y', 9000), 3);",
    ),
)
