"""The web UI, a process of its own (`shadow ui`): pages made on the server, one URL a screen, the same as JSON.

    browser --> guard --> pages --> latest --> a screen's read() --> parts --> proxies, runner, store (read-only)
                  |         |                                          |
               sessions   templates/, static/                       frame (who serves, what is down)
    browser --> guard --> actions --> every proxy's admin port, with the person's own token

`app` builds all of it and has the table of screens; `screens` defines a screen and what it is read from. `guard` refuses what another
origin's page sent and adds the security fields, `sessions` signs people in and recognizes them, `signing_in` has the page for that.
`pages` puts a screen into the frame, with the values that `latest` holds, so that a slow part never delays the frame. `parts` asks every
part of the installation, each on its own, with the clients that the commands use; `actions` changes the rollout.

Screens: `overview`, `rollout` (its gates in `gate_tiles`), `journal`, `rules`, `replays`, `configuration`, `runbook`. `frame` decides what the
header and the banners say, `charts` has the
geometry of charts and bars, `words` writes numbers and times.

Pure, without I/O and clock: charts, gate_tiles, words.
"""
