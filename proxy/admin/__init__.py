"""The control plane of a proxy process: metrics, health, status, the on-call switch. `api` has the routes."""
