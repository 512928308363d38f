"""`shadow demo`: the whole system on one machine, with traffic that makes the mirrored side differ.

`installation` starts every part as a child process (`children`) on an embedded PostgreSQL (`embedded_postgres`), with ports that stay free
until they are needed (`free_ports`) and a configuration of its own (`config`). `traffic` sends requests at a steady rate, `screen` shows
the metrics meanwhile, and `summary` prints the findings at the end. `nodes` adds what a demo of several proxies has besides. `proxy.cli.demo` puts it together. The scorer is a child process too:
nothing here imports it. The end-to-end tests use the same parts.
"""
