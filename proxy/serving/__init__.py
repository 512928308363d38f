"""The path of a client's request: connections, routing, side selection, forwarding, failover and worker processes.

    client --> client_connection --> forwarder --> backend_pool, backend_connection --> served side
                                         |
        routing, trust, side_selection --+-- failover (outlier_detection), retry_policy
                                         |
                                         +-- exchange_recorder (record_filter, mirror_rate_limits, unrouted_paths) --> proxy.journal

- A request: `client_connection` reads it, `routing` finds its route and ordering key, `side_selection` chooses the side (`trust` says
  which clients may choose it themselves), `forwarder` passes bytes both ways, `exchange_recorder` journals or skips the exchange.
- A backend that is down: `backend_pool` and `backend_connection` tell the causes apart, `failover` prefers the other side,
  `retry_policy` decides about a second attempt, and otherwise the client gets a response of `proxy.http1.error_responses`.
- A process: `app` builds the parts that all connections share, which `state` lists: `connection_registry` (how many fit:
  `descriptors`), `key_tracker`, `identifiers` and those above. `config_reload` replaces settings at run time, `metrics` counts, `event_wait` waits.
- Several processes: `supervisor` runs workers on one port and passes them sockets (`worker_handoff`); `signal_mask` blocks signals
  until a process has handlers for them. `shipper_process` keeps the shipper of a shared journal running beside them.

Pure: mirror_rate_limits, outlier_detection, record_filter, retry_policy, routing, trust, unrouted_paths.
"""
