"""The proxy beside the proxies people use, one core each: `make bench-proxy`.

`command` is the command line, `peers` who is measured and how each is started (`templates` has their configuration), `installing`
gets them, `turns` measures one of them once, `processes` runs and weighs processes, `records` counts what peers keep of exchanges,
`soak` watches memory. Pure: `figures` (medians, ratios, slopes), `templates`; `tables` shows them.
"""
