"""Captures of many programs as one kind of value, and back.

`recorded` is that value. One module a format, all pure (bytes or lines in, values out): `gor` `har` `mitmproxy` `envoy` `vegeta`
`ndjson` `alb` `combined`; `own` reads this program's journal and `files` finds and opens the rest. `sinks` chooses a writer.
A record that cannot be read is a `Malformed` value among the others; a file that cannot be read is a SourceError.
"""
