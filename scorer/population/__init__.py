"""A synthetic population: people who hold validly signed credentials, and requests for their scores.

The demo, the tests and the benchmarks need a database of people whom both implementations score alike, and requests to send.
`issuer` signs credentials; `people` defines who holds which stamps; `rows` converts people to table rows and `targets` to requests,
without I/O and deterministic for a seed; `traffic` generates any number of requests of a `profile` (`profiles/` contains the built-in
ones); `writing` copies the rows into a database, `sql` formats them as a script; `command` is `python -m scorer populate`.

All keys are derived from the seed, so credentials signed by these issuers must not be trusted anywhere else.
"""
