"""Compare the proxy with other proxies (peers), one core each: `make bench-proxy`.

`command` is the command line. `peers` lists the peers and how each is started, `templates` has their configuration, `install_peers`
installs them. `measurement` measures one of them once; `processes` runs processes and reads their resource usage; `records` counts
the exchanges that peers log; `soak` observes memory. `figures` has medians, ratios and slopes, `tables` prints them. Pure: `figures`,
`templates`.
"""
