"""The new Passport scorer: the legacy API over the legacy tables.

Layers, outermost first, each importing only inwards: `app` (composition root), `api/` (HTTP), `workflows` (one transaction a
request), `db/` (SQL), `domain/` (pure rules, standard library only). `credentials` is the only module that knows didkit.
"""
