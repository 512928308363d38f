"""One function a request: load, decide (domain), apply; each opens its own transaction with `Database.transact`.

`keys` (API key), `scoring` (score one address), `adding` (store, replace and delete stamps, then score), `reading` (stored scores,
history, listing). A workflow takes what it needs as arguments and knows nothing of HTTP.
"""
