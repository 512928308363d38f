"""Benchmarks: `make bench-NAME` runs one, `make help` lists them. Most print a table and, as the last line, the result as JSON.

proxy             the proxy beside other proxies; `load` generates the traffic
chaos             clients, accounting and rollback while parts are killed, stopped, filled, cut off and misdated
faults            effect on clients of faults behind the proxy
journal           appending to the journal
mirror            mirroring a write request; `mirror_parts` measures decoding, comparing and aligning alone
compare, effects  comparing, and change data capture
replay            shadow replay; `replay_both` replays to both sides and checks that the results are equal
rollout           simulated rollouts
connections       thousands of clients' connections at once (`python -m bench.connections`)
scorer            the scorer beside the legacy stand-in; `scorer_load` sends the requests, `scorer_wire` counts its SQL messages
truth             correctness at scale rather than speed
plain_proxy       a minimal aiohttp proxy to compare with
"""
