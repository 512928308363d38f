"""Format the rows of a population as one SQL script for psql. Pure."""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime

from scorer.population.rows import COLUMNS, Row, Rows, greatest_ids

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
        yield from copied(table, COLUMNS[table], records)
    for table, greatest in greatest_ids(rows).items():
        yield f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), {greatest});\n"
    yield "COMMIT;\nANALYZE;\n"


def copied(table: str, columns: Sequence[str], records: Sequence[Row]) -> Iterator[str]:
    """Generate the COPY block of one table; nothing without records."""
    if not records:
        return
    yield f"COPY {table} ({', '.join(columns)}) FROM stdin;\n"
    for record in records:
        yield "\t".join(map(_text, record)) + "\n"
    yield "\\.\n"


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
