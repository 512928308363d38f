"""One function for each kind of request: load, decide (`domain`), apply; each opens its own transaction with `Database.transact`.

`scoring` (score one address), `adding` (store, replace and delete stamps, then score), `reading` (stored scores, history, listing),
`keys` (API keys), `sign_in` and `terms` (nonces, signatures), `screening` (bans), `weights`, `points` and `metadata` (data beside
scores). `keyed_lock` runs the scorings of one address one at a time. A workflow takes its dependencies as arguments and does not depend on HTTP.
"""
