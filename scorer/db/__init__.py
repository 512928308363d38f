"""SQL and nothing else: one module a noun, statements as constants above the one function that runs them.

Functions take `conn` first and give back domain values or frozen dataclasses; a Record never leaves this package. JSON columns are
read and written as text. A function neither opens a transaction nor retries: `pool.Database.transact` does both, for whole requests.
"""
