"""The path of a client's request: connections, routing, side selection, forwarding, failover and worker processes."""
