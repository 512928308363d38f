"""The proxy: serves clients from one side, records every exchange, mirrors it to the other side, replays, rolls out and back.

A request passes through `serving/` (connections, routes, backends, failover) with the help of `http1/` (parser, templates of heads) and
ends as an exchange in `journal/`. `runner/` reads the journal, sends each exchange to the other side and has the comparator compare.
`rollout/` decides which side serves, `admin/` is the control port, `recordings/` and `replay/` read recordings and replay them,
`config/` is config.yaml, `cli/` the `shadow` command, `demo/` everything on one machine.

Layers, top to bottom; a package imports only those below it: cli; demo, replay; runner; serving; admin; recordings, rollout; journal;
http1; config.
"""
