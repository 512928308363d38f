"""The peers' configuration: one worker, keep-alive on both sides, logs off but where they are the journal. Pure.

Each is written so that the peer does its best: kept connections to both backends, no limits that would close them.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Place:
    """Where a peer listens, where it forwards to, where it sends copies, and a directory of its own."""

    port: int
    admin_port: int
    backend: int
    mirror: int
    directory: Path


def ours(place: Place, *, journal: bool) -> str:
    """config.yaml: both sides are the one backend. The runner may fall behind, as it would in a burst, and catches up."""
    live = f"url: 'http://127.0.0.1:{place.backend}'"
    shadow = f"url: 'http://127.0.0.1:{place.mirror}'"
    return f"""
listen: {{port: {place.port}}}
admin: {{port: {place.admin_port}}}
backends:
  candidate: {{live: {{{live}}}, shadow: {{{shadow}}}}}
  legacy: {{live: {{{live}}}, shadow: {{{shadow}}}}}
routes: [{{name: score, path: '/v2/stamps/{{id}}/score/{{address}}', key: address}}]
serve: {{state_file: {place.directory}/switch, sentinel_file: {place.directory}/stop}}
journal:
  enabled: {str(journal).lower()}
  directory: {place.directory}/journal
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
"""The variables of nginx's log: it writes headers only by name, so these are all that the traffic has."""


def nginx(place: Place, *, mirror: bool, records: Path | None = None) -> str:
    """nginx.conf. Told to keep connections for the copies too, it still opens one for each: it never reads their responses.

    `records` is a log of requests, the nearest thing that nginx has to a journal: no bodies of responses, no headers unknown to us.
    """
    keep = "proxy_http_version 1.1; proxy_set_header Connection '';"
    copy = f"location = /copy {{ internal; proxy_pass http://copies$request_uri; {keep} }}" if mirror else ""
    return f"""
worker_processes 1; daemon off; pid {place.directory}/nginx.pid; error_log /dev/null;
events {{ worker_connections 4096; }}
http {{
  {_nginx_log(records) if records else "access_log off;"} keepalive_requests 1000000000; keepalive_time 24h;
  upstream served {{ server 127.0.0.1:{place.backend}; keepalive 128; keepalive_requests 1000000000; keepalive_time 24h; }}
  upstream copies {{ server 127.0.0.1:{place.mirror}; keepalive 128; keepalive_requests 1000000000; keepalive_time 24h; }}
  server {{
    listen 127.0.0.1:{place.port};
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
"""What Envoy is told to stream: each exchange whole, bodies in base64 as they may be no text. Its stream knows JSON only."""


def envoy(place: Place, *, mirror: bool, tap: bool = False) -> str:
    """envoy.yaml. With `tap` it can be told to stream TAPS by its admin port."""
    admin = (
        f"admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {place.admin_port}}}}}}}" if tap else ""
    )
    tapping = _FILTER_TAP if tap else ""
    policies = "request_mirror_policies: [{cluster: copies}], " if mirror else ""
    return f"""
{admin}
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {place.port}}}}}
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
{_cluster("served", place.backend)}
{_cluster("copies", place.mirror)}
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


def haproxy(place: Place) -> str:
    """haproxy.cfg. HAProxy does not mirror without a second daemon."""
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
  bind 127.0.0.1:{place.port}
  unique-id-format %[uuid()]
  unique-id-header X-Request-Id
  default_backend served
backend served
  server one 127.0.0.1:{place.backend} pool-max-conn -1
"""


def caddy(place: Place) -> str:
    """Caddyfile. Caddy's reverse proxy does not mirror."""
    return f"""
{{
  admin off
  auto_https off
  log default {{
    output discard
  }}
}}
http://127.0.0.1:{place.port}, http://api.example:{place.port} {{
  bind 127.0.0.1
  reverse_proxy 127.0.0.1:{place.backend} {{
    transport http {{
      keepalive_idle_conns_per_host 256
      max_conns_per_host 0
    }}
  }}
}}
"""
