"""What was served, on disk: every exchange, appended without ever making a client wait, read by name and offset.

    proxy ──append──> Writer (bounded queue, one thread) ──frames──> <directory>/<writer>/<first sequence>.seg
                                                                           │
    shadow runner, replay, `shadow journal` <──Entry── Reader(name) <──────┘   offsets in <directory>/readers/<name>.json

`model` is the file format (pure), `redact` keeps secrets from reaching the disk in clear (pure), `writing` appends and rotates,
`reading` follows with committed offsets, `keys` finds the sealing key, `retention` deletes, `carry`
exports and imports, `command` is `shadow journal`.
"""
