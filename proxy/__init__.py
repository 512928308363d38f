"""Stands in front of the API: serves, journals, mirrors, replays, rolls out and rolls back.

`cli` is the `shadow` command, `app` the composition root, `settings` the shape of config.yaml. Pure: `headers`, `routes`,
`buckets`. `forward` does one request to one backend. Folders: `journal/` (what was served, on disk), `shadow/` (the runner that
mirrors and compares), `rollout/` (stage and the on-call switch), `replay/`, `admin/` (control plane), `demo/`.
"""
