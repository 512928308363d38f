"""The commands of `shadow`, one module each; no other package imports this one.

    main            dispatches; its GROUPS name every command, its help and its module
    rollout         promote, pause, resume, rollback
    journal         with `journal_transfer` for export and import, `journal_ship` for a shared one
    the others      demo, proxy, runner, status, history, causes, findings, rules, compare, calibrate, replay, replay_generate,
                    snapshot, capture, align: the command of that name

They share `exit_codes` (how a command ends), `output` (--config, and how results, remarks and errors are printed), `options` (of the
commands that read the store or rules), `capture_config` (of `capture` and `align`), `signals` (stop on SIGTERM), `progress_bar` (of
`replay`) and `rollout_text` (the rollout's lines of `status`).
"""
