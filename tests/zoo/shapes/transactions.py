"""Transactions of every kind, and statements that are not a plain INSERT, UPDATE or DELETE."""

from tests.zoo.one_table import one_table
from tests.zoo.shape import Copy, Fault, Shape


def plain(name: str, table: str, **more: object) -> Shape:
    """Return a table with an integer key whose statements are given."""
    return one_table(name, table, columns="k int PRIMARY KEY, v text", row="{n}", values="{n}, {v}", **more)  # pyright: ignore[reportArgumentType]


SHAPES = (
    plain(
        "savepoints, some rolled back",
        "saved",
        insert=(
            "SAVEPOINT a",
            "INSERT INTO saved VALUES ({new}, 'lost')",
            "ROLLBACK TO a",
            "INSERT INTO saved VALUES ({new}, 'kept')",
            "SAVEPOINT b",
            "UPDATE saved SET v = 'lost' WHERE k = {new}",
            "ROLLBACK TO b",
            "RELEASE a",
        ),
        mixed=(
            "UPDATE saved SET v = 'first' WHERE k = {old}",
            "SAVEPOINT a",
            "UPDATE saved SET v = 'second' WHERE k = {old}",
            "SAVEPOINT b",
            "DELETE FROM saved WHERE k = {old}",
            "TRUNCATE saved",
            "ROLLBACK TO b",
            "INSERT INTO saved VALUES ({new}, 'new')",
            "RELEASE a",
        ),
    ),
    plain(
        "exception blocks in a procedure",
        "caught",
        insert=(
            """DO $$ BEGIN
    INSERT INTO caught VALUES ({new}, 'new');
    FOR i IN 1..5 LOOP BEGIN INSERT INTO caught VALUES ({new}, 'twice'); EXCEPTION WHEN unique_violation THEN NULL; END; END LOOP;
END $$""",
        ),
    ),
    plain(
        "COPY",
        "copied",
        insert=(Copy("copied", "{new}\tnew\n{new}1\ttab \\t and backslash \\\\ and \\N\n{new}2\t\\N\n"),),
    ),
    plain(
        "upsert",
        "upserted",
        insert=("INSERT INTO upserted VALUES ({new}, 'new') ON CONFLICT (k) DO UPDATE SET v = EXCLUDED.v",),
        update=(
            "INSERT INTO upserted VALUES ({old}, 'upsert') ON CONFLICT (k) DO UPDATE SET v = upserted.v || EXCLUDED.v",
        ),
        mixed=(
            "INSERT INTO upserted VALUES ({new}, 'a'), ({old}, 'b'), ({near}, 'c') ON CONFLICT DO NOTHING",
            "INSERT INTO upserted SELECT k, 'again' FROM upserted WHERE k IN ({new}, {old}) ON CONFLICT (k) DO UPDATE SET v = EXCLUDED.v",
            "DELETE FROM upserted WHERE k = {near}",
        ),
    ),
    plain(
        "MERGE",
        "merged",
        since=15,
        mixed=(
            "MERGE INTO merged m USING (VALUES ({new}, 'a'), ({old}, 'b'), ({near}, NULL)) s (k, v) ON m.k = s.k WHEN MATCHED AND s.v IS NULL THEN DELETE WHEN MATCHED THEN UPDATE SET v = s.v WHEN NOT MATCHED THEN INSERT VALUES (s.k, s.v)",
        ),
    ),
    plain(
        "statements with data-modifying WITH",
        "piped",
        mixed=(
            "WITH gone AS (DELETE FROM piped WHERE k IN ({old}, {near}) RETURNING *) INSERT INTO piped SELECT k + 100000, v || ' moved' FROM gone",
            "WITH made AS (INSERT INTO piped VALUES ({new}, 'new') RETURNING k) SELECT count(*) FROM made",
        ),
    ),
    plain(
        "rows that are written and end as they began",
        "undone",
        update=("UPDATE undone SET v = v WHERE k = {old}", "UPDATE undone SET v = 'updated' WHERE k = {near}"),
        mixed=(
            "INSERT INTO undone VALUES ({new}, 'new')",
            "DELETE FROM undone WHERE k = {new}",
            "DELETE FROM undone WHERE k = {old}",
            "INSERT INTO undone SELECT {old}, 'seeded ' || {old} WHERE false",
            "INSERT INTO undone VALUES ({old}, 'back')",
            "UPDATE undone SET v = 'a' WHERE k = {near}",
            "UPDATE undone SET v = 'seeded {near}' WHERE k = {near}",
        ),
    ),
    plain(
        "TRUNCATE between writes of one transaction",
        "emptied",
        truncate=(
            "INSERT INTO emptied VALUES ({new}, 'before')",
            "UPDATE emptied SET v = 'before' WHERE k = {old}",
            "TRUNCATE emptied",
            "INSERT INTO emptied VALUES ({new}, 'after'), ({old}, 'after')",
            "UPDATE emptied SET v = v || ' all'",
        ),
    ),
    plain(
        "TRUNCATE twice in one transaction",
        "emptied_twice",
        truncate=(
            "TRUNCATE emptied_twice",
            "INSERT INTO emptied_twice VALUES ({new}, 'between')",
            "TRUNCATE emptied_twice",
            "INSERT INTO emptied_twice VALUES ({new}, 'after')",
        ),
    ),
    plain(
        "TRUNCATE by the mirrored side alone",
        "emptied_alone",
        truncate=(),
        faults={
            "changed": Fault(("UPDATE emptied_alone SET v = 'other' WHERE k = {new}",), "emptied_alone.v"),
            "lost": Fault(("DELETE FROM emptied_alone WHERE k = {new}",), "emptied_alone"),
            "extra": Fault(("INSERT INTO emptied_alone VALUES ({new} + 5000, 'new')",), "emptied_alone"),
            "emptied": Fault(("TRUNCATE emptied_alone",), "emptied_alone", undoable=False),
        },
    ),
    Shape(
        name="TRUNCATE CASCADE and RESTART IDENTITY",
        ddl="""
CREATE TABLE root_emptied (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, k text UNIQUE);
CREATE TABLE leaf_emptied (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, root_id bigint REFERENCES root_emptied, v text);
""",
        tables=("root_emptied", "leaf_emptied"),
        seed="""
INSERT INTO root_emptied (k) SELECT 'k' || n FROM generate_series(1, 120) n;
INSERT INTO leaf_emptied (root_id, v) SELECT id, 'seeded' FROM root_emptied
""",
        insert=(
            "INSERT INTO root_emptied (k) VALUES ('k{new}')",
            "INSERT INTO leaf_emptied (root_id, v) SELECT id, 'new' FROM root_emptied WHERE k = 'k{new}'",
        ),
        update=("UPDATE leaf_emptied SET v = 'updated' FROM root_emptied r WHERE r.id = root_id AND k = 'k{old}'",),
        delete=("DELETE FROM leaf_emptied USING root_emptied r WHERE r.id = root_id AND k = 'k{old}'",),
        mixed=(
            "INSERT INTO leaf_emptied (root_id, v) SELECT id, 'more' FROM root_emptied WHERE k IN ('k{old}', 'k{near}')",
        ),
        truncate=("TRUNCATE root_emptied CASCADE",),
        faults={
            "changed": Fault(
                ("UPDATE leaf_emptied SET v = 'other' FROM root_emptied r WHERE r.id = root_id AND k = 'k{new}'",),
                "leaf_emptied.v",
            ),
            "lost": Fault(
                ("DELETE FROM leaf_emptied USING root_emptied r WHERE r.id = root_id AND k = 'k{new}'",), "leaf_emptied"
            ),
            "extra": Fault(("INSERT INTO leaf_emptied (v) VALUES ('new')",), "leaf_emptied"),
        },
    ),
    plain(
        "two-phase commit",
        "prepared",
        commit=("PREPARE TRANSACTION '{role}{id}'", "COMMIT PREPARED '{role}{id}'"),
        truncate=(),
    ),
    plain("serializable transactions", "serializable", begin="BEGIN ISOLATION LEVEL SERIALIZABLE"),
    plain(
        "transaction of 1,000 rows",
        "many",
        insert=(
            "INSERT INTO many SELECT {new} * 10000 + i, 'new' FROM generate_series(1, 1000) i",
            "INSERT INTO many VALUES ({new}, 'new')",
        ),
        update=("UPDATE many SET v = v || ' updated' WHERE k < 1000 AND k >= {old} OR k > 10000",),
        delete=("DELETE FROM many WHERE k > 10000 AND k % 5 = {new} % 5",),
    ),
    plain(
        "transaction of 100,000 rows",
        "masses",
        heavy=True,
        insert=(
            "INSERT INTO masses SELECT {new} * 1000000 + i, 'new' FROM generate_series(1, 99999) i",
            "INSERT INTO masses VALUES ({new}, 'new')",
        ),
        delete=("DELETE FROM masses WHERE k IN (SELECT k FROM masses WHERE k > 1000000 ORDER BY k LIMIT 100000)",),
        job=("INSERT INTO masses VALUES ({new}, 'by a job')",),
    ),
    plain(
        "sequence that the application reads",
        "numbered",
        before="CREATE SEQUENCE ticket",
        insert=("INSERT INTO numbered VALUES ({new}, 'new ' || (nextval('ticket') > 0))",),
    ),
    plain(
        "settings of the session that change the text of values",
        "dressed",
        insert=(
            "SET LOCAL datestyle = 'German, DMY'",
            "SET LOCAL timezone = 'Asia/Kathmandu'",
            "INSERT INTO dressed VALUES ({new}, 'new')",
        ),
    ),
    plain(
        "session_replication_role = replica in the application",
        "replicated",
        update=("SET LOCAL session_replication_role = replica", "UPDATE replicated SET v = 'updated' WHERE k = {old}"),
    ),
    plain(
        "advisory locks, notifications and a cursor",
        "noisy",
        job=("UPDATE noisy SET v = 'by a job' WHERE k = {old}", "NOTIFY noisy"),
        mixed=(
            "SELECT pg_advisory_xact_lock({new})",
            "DECLARE c CURSOR FOR SELECT k FROM noisy WHERE k = {old} FOR UPDATE",
            "FETCH c",
            "UPDATE noisy SET v = 'by cursor' WHERE CURRENT OF c",
            "NOTIFY noisy",
        ),
    ),
    plain(
        "temporary tables beside the captured ones",
        "beside",
        insert=(
            "CREATE TEMP TABLE scratch (k int, v text) ON COMMIT DROP",
            "INSERT INTO scratch VALUES ({new}, 'new')",
            "INSERT INTO beside SELECT * FROM scratch",
        ),
    ),
    plain(
        "tables created and dropped in the transaction",
        "ddl_beside",
        update=(
            "CREATE TABLE passing (k int PRIMARY KEY)",
            "INSERT INTO passing VALUES (1)",
            "UPDATE ddl_beside SET v = 'updated' WHERE k = {old}",
            "DROP TABLE passing",
        ),
    ),
)
