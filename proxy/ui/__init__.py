"""The web UI, a process of its own (`shadow ui`): pages made on the server, one URL a screen, the same as JSON.

    browser --> guard --> pages --> latest --> a screen's read() --> parts --> proxies, runner, store (read-only)
                  |         |                                          |
               sessions   templates/, static/                       frame (who serves, what is down)
    browser --> guard --> actions --> every proxy's admin port, with the person's own token

`app` builds all of it and has the table of screens; `screens` defines a screen and what it is read from. `guard` refuses what another
origin's page sent and adds the security fields, `sessions` signs people in and recognizes them, `signing_in` has the page for that.
`pages` puts a screen into the frame, with the values that `latest` holds, so that a slow part never delays the frame. `parts` asks every
part of the installation, each on its own, with the clients that the commands use; `actions` changes the rollout.

Screens: `overview`, `rollout` (its gates in `gate_tiles`), `causes` (list, one cause, one finding, lines for config.yaml), `exchange`,
`journal`, `rules`, `replays`, `configuration`, `runbook`; `triage` decides on causes, by the code of `shadow causes`. `frame` decides what the header and the
banners say, `charts` has the geometry of charts and bars, `words` writes numbers and times.

An example of a difference is shown by `case_view`: `json_view` aligns both bodies, `row_view` shows the committed rows, `marked_text` marks
the characters that differ, `rule_words` says what a rule allows. `cause_list` decides states, facets and filters, `timeline_view` orders
the steps of an exchange, `outcome_words` says its outcome with the section of the runbook, `config_patch` writes lines for config.yaml,
`rule_draft` the patch of a rule that a person types.
`replay_view` decides what a report of a replay shows, `report_file` writes that page as one file.

Pure, without I/O and clock: case_view, cause_list, charts, config_patch, gate_tiles, json_view, marked_text, outcome_words, replay_view, row_view,
rule_draft, rule_words, timeline_view, words.
"""
