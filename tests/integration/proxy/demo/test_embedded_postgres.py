"""proxy.demo.embedded_postgres: a cluster with logical decoding from a wheel."""

import asyncpg


async def test_database_of_a_test_is_empty_and_has_logical_decoding(database: str) -> None:
    conn = await asyncpg.connect(database)
    try:
        assert await conn.fetchval("SHOW wal_level") == "logical"
        assert await conn.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
    finally:
        await conn.close()
