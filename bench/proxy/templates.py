"""The configuration of the peers: one worker, keep-alive on both sides, no logs except for logs of exchanges. Pure.

Each lets the peer do its best: persistent connections to both backends, and no limits that would close them.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class PeerSetup:
    """The ports of a peer and its backends, and a directory of its own."""

    port: int
    admin_port: int
    backend: int
    mirror: int
    directory: Path


def ours(setup: PeerSetup, *, journal: bool) -> str:
    """Return config.yaml: both sides are the same backend. The runner may fall behind, as in a burst, and catches up."""
    live = f"url: 'http://127.0.0.1:{setup.backend}'"
    shadow = f"url: 'http://127.0.0.1:{setup.mirror}'"
    return f"""
listen: {{port: {setup.port}}}
admin: {{port: {setup.admin_port}}}
backends:
  candidate: {{live: {{{live}}}, shadow: {{{shadow}}}}}
  legacy: {{live: {{{live}}}, shadow: {{{shadow}}}}}
routes: [{{name: score, path: '/v2/stamps/{{id}}/score/{{address}}', key: address}}]
serve: {{state_file: {setup.directory}/switch, sentinel_file: {setup.directory}/stop}}
journal:
  enabled: {str(journal).lower()}
  directory: {setup.directory}/journal
  retention: {{size_max_bytes: 67108864, disk_max_bytes: 134217728}}
capture: {{driver: "off"}}
runner: {{port: 0, queue_max: 100000}}
"""


LOGGED = (
    "request_id", "msec", "remote_addr", "request", "http_host", "http_user_agent", "http_accept", "http_accept_encoding",
    "http_accept_language", "http_x_api_key", "http_x_forwarded_for", "http_cookie", "http_traceparent", "http_x_request_id",
    "http_if_none_match", "http_x_client_version", "http_referer", "request_body", "status", "body_bytes_sent", "request_time",
    "upstream_response_time",
)  # fmt: skip
"""The variables of nginx's log. It logs header fields only by name, so these are all that the traffic has."""


def nginx(setup: PeerSetup, *, mirror: bool, records: Path | None = None) -> str:
    """Return nginx.conf.

    nginx opens a connection for each copy although it is configured to keep them, because it never reads the responses of copies.

    Args:
        setup: of the peer.
        mirror: whether it sends copies.
        records: file for a log of requests, which is the closest that nginx has to a journal: it has neither response bodies nor
            header fields that are not listed.
    """
    keep = "proxy_http_version 1.1; proxy_set_header Connection '';"
    copy = f"location = /copy {{ internal; proxy_pass http://copies$request_uri; {keep} }}" if mirror else ""
    return f"""
worker_processes 1; daemon off; pid {setup.directory}/nginx.pid; error_log /dev/null;
events {{ worker_connections 4096; }}
http {{
  {_nginx_log(records) if records else "access_log off;"} keepalive_requests 1000000000; keepalive_time 24h;
  upstream served {{ server 127.0.0.1:{setup.backend}; keepalive 128; keepalive_requests 1000000000; keepalive_time 24h; }}
  upstream copies {{ server 127.0.0.1:{setup.mirror}; keepalive 128; keepalive_requests 1000000000; keepalive_time 24h; }}
  server {{
    listen 127.0.0.1:{setup.port};
    {copy}
    location / {{
      {"mirror /copy;" if mirror else ""} proxy_pass http://served; {keep}
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Request-Id $request_id;
    }}
  }}
}}
"""


def _nginx_log(records: Path) -> str:
    fields = ",".join(f'"{name}":"${name}"' for name in LOGGED)
    return f"log_format exchange escape=json '{{{fields}}}'; access_log {records} exchange buffer=64k flush=1s;"


BODY_MAX_BYTES = 65536
TAPS = {
    "config_id": "all",
    "tap_config": {
        "match": {"any_match": True},
        "output_config": {
            "max_buffered_rx_bytes": BODY_MAX_BYTES,
            "max_buffered_tx_bytes": BODY_MAX_BYTES,
            "sinks": [{"format": "JSON_BODY_AS_BYTES", "streaming_admin": {}}],
        },
    },
}
"""The request for Envoy's stream of taps: whole exchanges, bodies in base64. The stream is JSON only."""


def envoy(setup: PeerSetup, *, mirror: bool, tap: bool = False) -> str:
    """Return envoy.yaml. With `tap` its admin port accepts TAPS."""
    admin = (
        f"admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {setup.admin_port}}}}}}}" if tap else ""
    )
    tapping = _FILTER_TAP if tap else ""
    policies = "request_mirror_policies: [{cluster: copies}], " if mirror else ""
    return f"""
{admin}
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {setup.port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: bench
          use_remote_address: true
          route_config:
            virtual_hosts:
            - {{name: all, domains: ["*"], routes: [{{match: {{prefix: /}}, route: {{cluster: served, {policies}timeout: 30s}}}}]}}
          http_filters:{tapping}
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
{_cluster("served", setup.backend)}
{_cluster("copies", setup.mirror)}
"""


_FILTER_TAP = """
          - name: envoy.filters.http.tap
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.tap.v3.Tap
              common_config: {admin_config: {config_id: all}}"""


def _cluster(name: str, port: int) -> str:
    limits = "max_connections: 4096, max_pending_requests: 4096, max_requests: 4096"
    return f"""  - name: {name}
    type: STATIC
    connect_timeout: 2s
    circuit_breakers: {{thresholds: [{{{limits}}}]}}
    load_assignment:
      cluster_name: {name}
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}}}]}}]"""


def haproxy(setup: PeerSetup) -> str:
    """Return haproxy.cfg. HAProxy does not mirror without a second daemon."""
    return f"""
global
  nbthread 1
  maxconn 8192
defaults
  mode http
  timeout connect 2s
  timeout client 1h
  timeout server 1h
  timeout http-keep-alive 1h
  option http-keep-alive
  http-reuse always
  option forwardfor
frontend front
  bind 127.0.0.1:{setup.port}
  unique-id-format %[uuid()]
  unique-id-header X-Request-Id
  default_backend served
backend served
  server one 127.0.0.1:{setup.backend} pool-max-conn -1
"""


def caddy(setup: PeerSetup) -> str:
    """Return the Caddyfile. Caddy's reverse proxy does not mirror."""
    return f"""
{{
  admin off
  auto_https off
  log default {{
    output discard
  }}
}}
http://127.0.0.1:{setup.port}, http://api.example:{setup.port} {{
  bind 127.0.0.1
  reverse_proxy 127.0.0.1:{setup.backend} {{
    transport http {{
      keepalive_idle_conns_per_host 256
      max_conns_per_host 0
    }}
  }}
}}
"""
