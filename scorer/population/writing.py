"""Copies a population's rows into an empty database."""

import asyncpg

from scorer.errors import DatabaseNotEmptyError
from scorer.population.rows import COLUMNS, Rows, greatest_ids

_COPY_TIMEOUT_S = 300.0

_ANY_ACCOUNT = "SELECT EXISTS (SELECT 1 FROM account_account)"
_CONTINUE_IDENTITY = """
SELECT setval(pg_get_serial_sequence($1, 'id'), $2)
"""


async def write(conn: asyncpg.Connection, rows: Rows) -> int:
    """Copy all rows in one transaction, let identities go on after the greatest id; how many rows.

    Raises:
        DatabaseNotEmptyError: there are accounts already; a population never mixes with anything else.
    """
    if await conn.fetchval(_ANY_ACCOUNT):
        raise DatabaseNotEmptyError("the database has accounts already; a population wants an empty one")
    async with conn.transaction():
        for table, records in rows.items():
            await conn.copy_records_to_table(table, records=records, columns=COLUMNS[table], timeout=_COPY_TIMEOUT_S)
        for table, greatest in greatest_ids(rows).items():
            await conn.fetchval(_CONTINUE_IDENTITY, table, greatest)
    await conn.execute("ANALYZE")
    return sum(len(records) for records in rows.values())
