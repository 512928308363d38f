"""Change data capture: turn the committed changes of one database into transactions in commit order.

    write-ahead log -> stream_driver  --.
                    -> sql_driver     --+--> delivery --> Transaction --> attribution --> the request that made it
    change log      -> trigger_driver --'

- `driver` is the interface of a capture; `registry.open_capture` opens the driver that `settings` names. The three drivers do not
  know each other. They extend `reconnecting` (one reading task that reconnects) and use `delivery` (each transaction once, and fences).
- `pgoutput` and `row_text` decode bytes and rows, and `change_order` sorts what triggers logged (pure). `replication` is a replication
  connection over libpq.
- `attribution_keys` (pure) finds the keys that a row carries; `attribution` (pure) attributes transactions to requests, and `tag_belief`
  (pure) decides whether a side names its requests.
- `session` opens connections with fixed settings; `catalog` reads the shapes of tables (`table_shape`, pure).
- `schema_difference` (pure) finds where two databases define a table differently; `schema_reading` reads definitions again, cheaply.
- `capturability` (pure) decides which tables a driver captures exactly; `capture_gaps` reads which are. `preflight` checks a database.
- `write_obstacles` finds what keeps the runner's writes to the shadow from being exact.
- `publication`, `trigger_log` and `trigger_tags` prepare one, a table at a time through `table_changes`, which tries live's writes
  before it commits; `removal` takes everything back.
- `clone` creates the shadow database from live, and `verify` compares both completely.
"""
