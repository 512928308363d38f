"""The load generator of all benchmarks of HTTP servers, light enough not to be the bottleneck.

`clients` speaks HTTP/1.1 on keep-alive connections. `closed_loop` sends the next request when the response has come, which measures
throughput; `open_loop` sends requests on a schedule, which measures latency. `requests` and `responses` make the traffic, `backend`
responds and counts, `alarm` is a timer good to about 50 us, `cores` assigns the cores.
"""
