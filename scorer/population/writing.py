"""Copy the rows of a population into a database."""

import asyncpg

from scorer.errors import DatabaseNotEmptyError
from scorer.population.rows import COLUMNS, UNLESS_PRESENT, Rows, greatest_ids
from scorer.population.sql import advance_identity, analyze, insert_unless_present

_COPY_TIMEOUT_S = 300.0

_ANY_ACCOUNT = "SELECT EXISTS (SELECT 1 FROM account_account)"


async def write(conn: asyncpg.Connection, rows: Rows) -> int:
    """Write all rows in one transaction, advance the identities, and return the number of rows.

    Raises:
        DatabaseNotEmptyError: there are accounts already; a population is never mixed with other data.
    """
    if await conn.fetchval(_ANY_ACCOUNT):
        raise DatabaseNotEmptyError("the database has accounts already: populate needs one without accounts")
    async with conn.transaction():
        for table, records in rows.items():
            if table in UNLESS_PRESENT:
                await conn.executemany(insert_unless_present(table), [record[1:] for record in records])
            else:
                await conn.copy_records_to_table(
                    table, records=records, columns=COLUMNS[table], timeout=_COPY_TIMEOUT_S
                )
        for table in greatest_ids(rows):
            await conn.fetchval(advance_identity(table))
    await conn.execute(analyze(rows))
    return sum(len(records) for records in rows.values())
