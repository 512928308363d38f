"""The proxy: serves clients from one side, journals every exchange, mirrors it to the other side, and rolls out and back.

    client --> serving (http1) --> served side          rollout: steps, gates, rollback --> serving
                  |
               journal --> runner --> mirrored side     recordings --> replay --> one side or both
                              |
                          comparator --> verdicts

A request passes through `serving/` (connections, routing, backends, failover) with the help of `http1/` (parser, head cache) and ends
as an exchange in `journal/`. `runner/` reads the journal, sends each exchange to the other side and lets the comparator compare.
`rollout/` decides which side serves, `admin/` is the control port, `recordings/` reads and writes traffic files, `replay/` replays
them, `config/` is config.yaml, `initial_config/` proposes one, `cli/` is the `shadow` command, `ui/` the web UI, `mcp/` what an
assistant may ask, `demo/` the whole system on one machine.

Shared by the packages: `errors`, `token_bucket`, `health_probe`, `logging_json`, `exception_groups`, `private_file`, `input_file`. PostgreSQL is reached through
`comparator.postgres`, which also defines the errors that mean an unavailable database.

Layers, top to bottom; a package imports only those below it: cli; demo, initial_config, mcp, ui; replay; runner; serving; admin; recordings, rollout; journal;
http1; config.
"""
