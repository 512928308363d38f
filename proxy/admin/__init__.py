"""The control port of a proxy process: metrics, health, status, and the rollout's changes.

    reserved_listener (descriptors of its own) --> connections (limits, pacing) --head--> request_checks (host, origin, content type) --request--> api, proxy.rollout.http_api

`throttle` has the rates. Everything but `api`, `connections` and `reserved_listener` is pure.
"""
