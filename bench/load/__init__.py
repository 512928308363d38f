"""One load generator for all benchmarks of HTTP servers, lean enough not to be the limit.

`clients` speaks HTTP/1.1 on keep-alive connections; `closed` asks again as soon as it is answered (how much can it do?), `opened`
asks when a request is due, answered or not (what does a client wait?). `requests` and `responses` are the traffic, `backend` answers
and counts, `alarm` is a timer good to some 50 us, `cores` says who runs where.
"""
