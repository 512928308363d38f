"""Stands in front of the API: serves, journals, mirrors, replays, rolls out and rolls back.

`cli` is the `shadow` command, `app` the composition root of a proxy process, `workers` keeps several of them, `settings` is the shape
of config.yaml. A request: `clients` reads it off its connection, `forward` sees it through, `backends` has the connections it goes out
on, `front` is what all of them share. Pure: `http1` (the parser), `fields`, `headers`, `heads`, `copies`, `routes`, `buckets`,
`responses`. Folders: `journal/` (what was served, on disk), `shadow/` (the runner that
mirrors and compares), `rollout/` (stage and the on-call switch), `replay/`, `admin/` (control plane), `demo/`.
"""
