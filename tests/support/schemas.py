"""Schemas of tables for tests that compare rows without a database."""

from comparator.exchanges.table_schema import TableSchema
from tests.golden.judge import SCHEMAS


def with_id(**types: str) -> TableSchema:
    """A table whose primary key is an `id` that the database makes; other columns are text unless said otherwise."""
    return TableSchema(("id",), {"id": "bigint", **types}, ("id",))


LEGACY_SCHEMAS = SCHEMAS
"""The tables of the legacy."""
