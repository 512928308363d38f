"""`shadow demo`: the whole system on one machine, with traffic that finds something.

`installation` starts every part as a child process (`children`) against an embedded PostgreSQL with a config (`config`) of its own
making; `traffic` asks for scores at a steady rate; `scrape` reads the metrics while it runs and `screen` shows them; `summary` says at
the end what was found and where to look next; `command` puts it together. The scorer is a child process too: nothing here imports it.
The end-to-end tests use the same parts.
"""
