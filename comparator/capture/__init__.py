"""Turns the committed changes of one database into `comparator.exchanges.row_changes.Transaction`s, in commit order.

`model` holds the Protocol every driver implements and `drivers.open_capture` picks one by `settings`. The drivers `stream`
(over `replication`, libpq), `sql` and `triggers` share `supervised` (one reader that reconnects) and `delivery` (each
transaction once; fences that waiters share). `pgoutput` and `rowtext` decode, purely; `keys` (pure) says whose a row is, `attribute` (pure) ties transactions to
requests.
Around them: `catalog` reads the shape of tables, `fitness` refuses a database that cannot be captured from, `publication`
and `changelog` prepare one, `preflight` says what it lacks, `clone` makes the shadow and `verify` compares it whole;
`command` and `align_command` put them on the command line.
"""
