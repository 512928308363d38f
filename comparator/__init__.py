"""Decides what two sides' observations of one request mean.

The values: `exchange`, `changes` (what happened), `tables`, `settings` (what the operator declared), `difference`, `verdict`
(what was found). All of the following is pure (no I/O, no clock):

- `verdict.Comparator` is the entry: compiled once from the section `compare:`, it turns two observations into a `Comparison`.
- Responses: `responses` (status, headers, body), `bodies` (codings and kinds), `exact` (JSON that loses nothing), `json_diff` (the
  walk), under `rules`, which `paths` finds by place and `actions` apply. `known` are the declared known differences.
- Effects: `net` (what changed in the end, by natural key), `row_diff` (what a row means), `effects` (both sides together).
- What follows from many comparisons: `findings` (clusters), `stats`, `sketch`, `evidence` (how sure we are), `calibrate`
  (rules proposed from noise), `rule_trial` (what other rules would say), `in_force` (new rules while a process runs).
- What people and files see: `report`, `detail` (deepdiff, in this one module), `cases` (a replayable example), `redaction`,
  `record` (what the store is given).

The shells: `capture/` turns a write-ahead log into `changes`; `store` keeps verdicts (`store_schema`, `store_writes`), `queries`
reads them; `metrics`; the commands `findings_command`, `rules_command`, `compare_command` with `command_options`.
The comparator imports neither the proxy nor the scorer.
"""
