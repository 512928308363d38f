"""The rules: pure functions without clock and I/O, standard library only. Times and addresses are arguments.

Scoring: `stamp` (which credentials count), `dedup` (ownership of nullifiers), `scoring` (weights, sum, evidence, events), `awards`
and `points` (human points). Requests: `address` and `checksums` (address formats, EIP-55), `api_key`, `rate_limit`, `submission`
(credentials to store), `cursor` (page tokens), `siwe` and `token_claims` (sign-in), `bans`, `analysis` (model services),
`contributions`, `stamp_metadata`, `texts`, `times`.
"""
