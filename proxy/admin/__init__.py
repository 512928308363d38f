"""The control port of a proxy process: metrics, health and status. `api` has the routes, `throttle` limits the rate."""
