"""Clients, accounting and rollback while parts are killed, stopped, cut off, filled and misdated: `make bench-chaos`.

`installation` runs the real proxy and runner over three PostgreSQL servers, with `relay` in front of what can be cut off; `clients` send
requests and know what became of each; `faults` has the kinds of faults; `ledger` holds what the clients know and what is on disk against
what the accounting says; `rounds` runs one fault after the other, and `command` prints the table.
"""
