"""Copy the rows of a population into a database."""

import asyncpg

from scorer.errors import DatabaseNotEmptyError
from scorer.population.rows import COLUMNS, Rows, greatest_ids

_COPY_TIMEOUT_S = 300.0

_ANY_ACCOUNT = "SELECT EXISTS (SELECT 1 FROM account_account)"
_CONTINUE_IDENTITY = """
SELECT setval(pg_get_serial_sequence($1, 'id'), $2)
"""


async def write(conn: asyncpg.Connection, rows: Rows) -> int:
    """Copy all rows in one transaction, advance the identities, and return the number of rows.

    Raises:
        DatabaseNotEmptyError: there are accounts already; a population is never mixed with other data.
    """
    if await conn.fetchval(_ANY_ACCOUNT):
        raise DatabaseNotEmptyError("the database has accounts already: populate needs one without accounts")
    async with conn.transaction():
        for table, records in rows.items():
            await conn.copy_records_to_table(table, records=records, columns=COLUMNS[table], timeout=_COPY_TIMEOUT_S)
        for table, greatest in greatest_ids(rows).items():
            await conn.fetchval(_CONTINUE_IDENTITY, table, greatest)
    await conn.execute("ANALYZE")
    return sum(len(records) for records in rows.values())
