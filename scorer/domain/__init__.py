"""The rules, pure: values in, values out; no clock, no I/O, no JSON library. Times and addresses are arguments.

`address`, `api_key`, `credential` (what a stamp must look like), `dedup` (who owns a nullifier), `scoring` (weights, sum, evidence),
`points` (human points), `score` (the result in its forms).
"""
