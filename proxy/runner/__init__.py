"""The shadow runner: mirror journaled exchanges on the shadow, compare both sides, and keep the shadow equal to live.

    journal --> intake --> ledger (key_scheduler) --> runner --> mirror --> outcomes --> result_buffer --> result_sink --> store
                  |           ^                         |  |        |
    live  --> transaction_feed, served_attribution      |  |   mirror_client --> the other side's shadow instance
    shadow -> transaction_feed, shadow_attribution -----|--|--------^
                                                        |  `-- row_targets, row_plan, row_sql, row_writer --> shadow
                                                        `-- resynchronizer, resync --> shadow

`app` builds all of it. `intake` decides which exchanges are mirrored (`skip_causes`), `ledger` orders them and live's other changes,
`runner` carries them out, `shadow_state` holds since when the shadow can be compared with, and `checkpoint` how far journal and log are
done. `row_writer` reads back what it has written (`row_readback`), and `row_sampler` compares rows that nothing touches; a resync
copies `uncaptured_parents` where it must. `databases` opens live and shadow, `safety_check` refuses a shadow that may be live, `parent_lookup` finds the keys of parent rows,
`journal_access` opens the journal, a shared one under the `lease` of the runner's name; `key_slice` divides the exchanges among several runners;
`mismatch_journal` copies exchanges that differed, `configuration_use` notes which rules and tables are in use, and `rules_reload` reloads the comparison rules. `cause_solving`
solves causes from what is stored, `accountant` names exchanges that are missing, and `releases` reads the releases of both sides.
`admin` and `metrics` are the runner's port and its counts. `survival` keeps the loops alive through errors, `offset_writer` stores the
committed offset by a thread, and `unclean_stop` tells whether the runner before was killed.

While definitions of tables change, `schema_watch` reads them, `schema_agreement` decides which tables are compared, `verdict_queue` holds
each result until they are known to have been the same, and `shadow_shapes` and `shadow_sequences` take what is new into use.

With `capture.driver: off`, `no_capture` has null objects for every part that deals with row changes. `calibrate` and
`shadow replay --to both` use the same parts in the runner's place, through `databases.open_exclusive_shadow`.

Pure, without I/O and clock: checkpoint, key_scheduler, key_slice, ledger, row_plan, row_readback, row_sql, row_targets, schema_agreement,
shadow_attribution, skip_causes, transaction_snapshot.
"""
