"""Replays recorded scenarios of the legacy system against the scorer and compares with the project's comparator.

A scenario is seed rows, requests, the responses the legacy gave and the rows it changed. `scenario` reads one, `database` gives
it a fresh database and photographs it, `upstream` stands in for the services the scorer calls, `serving` starts the scorer,
`wire` speaks to it byte for byte, `replay` walks the steps, `identities`, `times` and `textual` bring the recording into the
terms of this run, `judge` and `races` compare, `known` holds the declared differences, `report` prints.
"""
