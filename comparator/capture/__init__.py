"""Turns the committed changes of one database into `comparator.changes.Transaction`s, in commit order.

`model` holds the Protocol every driver implements; `pgoutput` decodes the wire format (pure); `stream`, `sql` and
`triggers` are the drivers; `preflight` says what a database lacks, as SQL; `attribute` (pure) ties transactions to requests.
"""
