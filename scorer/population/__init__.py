"""A synthetic population: people with really signed credentials, and the requests that ask for their scores.

The demo, the tests and the benchmarks need a database full of people whom both implementations score alike, and targets to ask for.
`issuer` signs credentials; `people` decides who holds which stamps and why that is interesting; `rows` turns people into table
rows and `targets` into requests, all without I/O and equal for equal seeds; `traffic` makes any number of requests of any `profile`
(`profiles/` holds those that come with the program); `writing` copies the rows into an empty database, `sql` makes a script of
them; `command` is `python -m scorer populate`.

Nobody in here is real: every key is derived from the seed, so nothing signed by these issuers may ever be trusted elsewhere.
"""
