"""Store comparisons, findings, causes and totals in PostgreSQL, in the schema `shadow`, and report them.

- `store.Store` adds batches; `writes` has its statements, `schema` the migrations and the partitions by day.
- `rollups` keeps counts while writing, so that nothing is counted when asked; `finding_sets` keeps what causes are solved from.
- `causes` solves and stores causes, and reads them; `cause_hours` counts their exchanges by hour.
- `cause_activity` reads how the exchanges of causes are spread over time and sides.
- `ended` notes by number the exchanges that ended, in the transaction of the verdicts.
- `journal_offsets` keeps the places of a shared journal's readers, and the lease of each.
- `step_evidence` counts what the gates of the rollout read, while verdicts are stored.
- `reader` opens the store for reading only, and `series` reads counts and durations over time.
- `queries` reads; `rows` (pure) has the values that it returns.
- `timeline` (pure) is the stored form of when each step of an exchange happened.
- `comparison_detail` (pure) is the stored form of what differed in a comparison.
- `report` (pure) writes comparisons and findings as text, with the help of deepdiff in `deepdiff_rendering` (pure).
- `stored_rule_trial` (pure) predicts the effect of changed rules on stored comparisons.
"""
