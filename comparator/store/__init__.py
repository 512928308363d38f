"""Keep verdicts in PostgreSQL: schema, writes, queries and the report built from them."""
