"""Format the rows of a population as one SQL script for psql. Pure.

Neither the script nor the statements need more than the rights of the tables' owner.
"""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime

from scorer.population.rows import COLUMNS, UNLESS_PRESENT, Row, Rows, greatest_ids

_REFUSE = """DO $$ BEGIN
  IF EXISTS (SELECT 1 FROM account_account) THEN
    RAISE EXCEPTION 'the database has accounts already: populate needs one without accounts';
  END IF;
END $$;
"""
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def script(rows: Rows) -> Iterator[str]:
    """Generate the script in pieces; run it in a migrated database with `psql -v ON_ERROR_STOP=1 -f`."""
    yield "BEGIN;\n" + _REFUSE
    for table, records in rows.items():
        yield from _inserted(table, records) if table in UNLESS_PRESENT else copied(table, COLUMNS[table], records)
    for table in greatest_ids(rows):
        yield f"{advance_identity(table)};\n"
    yield f"COMMIT;\n{analyze(rows)};\n"


def copied(table: str, columns: Sequence[str], records: Sequence[Row]) -> Iterator[str]:
    """Generate the COPY block of one table; nothing without records."""
    if not records:
        return
    yield f"COPY {table} ({', '.join(columns)}) FROM stdin;\n"
    for record in records:
        yield "\t".join(map(_text, record)) + "\n"
    yield "\\.\n"


def insert_unless_present(table: str, values: Sequence[str] = ()) -> str:
    """Return the INSERT of a table in UNLESS_PRESENT; `values` are literals, by default parameters, of each column but the id."""
    columns = COLUMNS[table][1:]
    values = values or [f"${number}" for number in range(1, len(columns) + 1)]
    target = f"INSERT INTO {table} ({', '.join(columns)})"
    return f"{target} VALUES ({', '.join(values)}) ON CONFLICT ({UNLESS_PRESENT[table]}) DO NOTHING"


def advance_identity(table: str) -> str:
    """Return the statement after which a table's identity continues at its greatest id."""
    greatest = f"(SELECT max(id) FROM {table})"  # noqa: S608 (the names are this package's)
    return f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), {greatest})"


def analyze(rows: Rows) -> str:
    """Return the ANALYZE of the population's tables; one of the whole database warns a role that does not own the catalogs."""
    return f"ANALYZE {', '.join(rows)}"


def _inserted(table: str, records: Sequence[Row]) -> Iterator[str]:
    for record in records:
        yield f"{insert_unless_present(table, [_literal(value) for value in record[1:]])};\n"


def _literal(value: object) -> str:
    quoted = _text(value).replace("'", "''")
    return "NULL" if value is None else f"'{quoted}'"


def _text(value: object) -> str:
    """Format a value in the text format of COPY."""
    match value:
        case None:
            return "\\N"
        case bool():
            return "t" if value else "f"
        case datetime():
            return value.isoformat()
        case dict() | list():
            return json.dumps(value).translate(_ESCAPES)
        case _:
            return str(value).translate(_ESCAPES)
