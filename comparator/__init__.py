"""Decides what two sides' observations of one request mean.

Pure core (no I/O, no clock): `exchange` and `changes` are the values, `tables` and `rules` what the operator declared,
`normalise`, `json_diff` and `effects` find differences, `verdict` judges them, `findings` clusters them, `stats` says how
sure we are, `report` renders. Shells: `capture/` turns a write-ahead log into `changes`, `store` keeps verdicts.
The comparator imports neither the proxy nor the scorer.
"""
