"""Replays recordings: against one side for its latency and responses, or against both sides for their differences.

    recording --recording_reader--> RecordedExchange --schedule--> ScheduledRequest --player--> handler --> Tally --> report

`schedule` decides what is sent when (pure); `player` starts it then, in the order of each key; a handler sends it: `session.OneSide`
to one side through `http_target`, `compare_run.BothSides` to both sides from one state of the shadow database. `credentials` and
`jwt_signing` put usable secrets where the recording has digests (pure). `tally` counts; `report` renders the result
(pure); `proxy.ui.report_file` writes it as one HTML file. `report_diff` says whether two reports are the same, `baseline` what one run introduced and resolved against another (both pure);
`report_folder` keeps reports. `case_replay` repeats the stored cases of a finding, from the rows that each request found, to try a build that is to fix it. `resume_state` lets an interrupted replay continue.

`snapshot` and `snapshot_transfer` keep states of the shadow database, so that a replay can be repeated. `arrival_times` turns generated
requests into a recording (pure).
"""
