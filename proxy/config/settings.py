"""The shape of config.yaml and how it is read. Pure: the text and the environment are arguments.

`${NAME}` and `${NAME:-default}` inside any text value are taken from the environment, so that secrets, DSNs and addresses need not
stand in the file. Every section forbids unknown fields; a SettingsError names the path of what is wrong.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from ipaddress import ip_network
from typing import Annotated, Any, cast
from urllib.parse import urlsplit

import msgspec
import yaml
from msgspec import Meta, Struct

from comparator.capture.settings import CaptureSettings, with_words
from comparator.exchanges.model import Role, Side
from comparator.settings import CompareSettings, StoreSettings
from proxy.config.health import HealthCheckSettings, OutlierDetection
from proxy.config.journal import JournalSettings
from proxy.config.mirroring import MirroringSettings, PerSecond
from proxy.config.record_if import RecordIf, RecordOnly
from proxy.config.replay import ReplaySettings
from proxy.config.rollout import RolloutSettings, problem_of
from proxy.config.runner import RunnerSettings
from proxy.errors import SettingsError

Port = Annotated[int, Meta(ge=0, le=65535)]
Positive = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(ge=0, le=1)]
Percent = Annotated[float, Meta(ge=0, le=100)]

VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


class MirrorPolicy(StrEnum):
    """Whether the exchanges of a route are mirrored."""

    MIRROR = "mirror"
    SKIP = "skip"


class WritePolicy(StrEnum):
    """Whether requests with an unsafe method are mirrored: always, never, or only with an Idempotency-Key."""

    MIRROR = "mirror"
    SKIP = "skip"
    IDEMPOTENT = "idempotent"


class TlsSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """PEM files of a listener."""

    certificate: str
    key: str


class ListenSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Where clients are served."""

    host: str = "127.0.0.1"
    port: Port = 8080
    unix: str = ""
    """Path of a unix socket to listen on instead of host and port."""
    workers: Count = 1
    tls: TlsSettings | None = None
    trusted_networks: tuple[str, ...] = ()
    """Clients from here may send X-Forwarded-*, Forwarded, X-Serve-With and X-Use-Rust-Scorer."""
    override_token: str = ""
    """Clients who send it as X-Shadow-Token may choose the side too; empty: no token is accepted."""


class AdminSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The control port: /metrics, /healthz, /readyz, /status, POST /rollback, POST /resume."""

    host: str = "127.0.0.1"
    port: Port = 9901
    token: str = ""
    """Bearer token of an operator; empty, and none in `rollout.access`: whoever reaches the port may change the rollout."""
    tls: TlsSettings | None = None


class BackendSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """One instance of one side."""

    url: str = ""
    socket: str = ""
    """Path of a unix socket to connect to instead of url's host and port (a live instance only); url still says the rest."""
    host: str = "backend"
    """Host header sent: `backend` (that of url), `preserve` (the client's), or a literal name."""
    connect_s: Positive = 2.0
    connections_max: Count = 256
    idle_s: Positive = 4.0
    """How long an unused connection is kept; less than the backend keeps it (uvicorn and gunicorn: 5 s or less by default)."""
    retries: Annotated[int, Meta(ge=0, le=1)] = 1
    """One more try, only where nothing was sent or the method is safe and a kept connection was stale."""
    health_check: HealthCheckSettings = HealthCheckSettings()
    """How a live instance is asked whether it is well."""
    outlier_detection: OutlierDetection = OutlierDetection()
    """When a live instance that fails requests is spared for a while."""


class SideInstances(Struct, frozen=True, forbid_unknown_fields=True):
    """One side's two instances: wired to the live and to the shadow database."""

    live: BackendSettings = BackendSettings()
    shadow: BackendSettings = BackendSettings()


class BackendsSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Both sides."""

    candidate: SideInstances = SideInstances()
    legacy: SideInstances = SideInstances()

    def of(self, side: Side, role: Role) -> BackendSettings:
        """The instance that plays `role` for `side`: served ones are wired to live, mirrored ones to shadow."""
        instances = self.candidate if side is Side.CANDIDATE else self.legacy
        return instances.live if role is Role.SERVED else instances.shadow


class DatabasesSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """DSNs: the database that users see, its clone that mirrored sides write, and where verdicts are kept."""

    live: str = ""
    shadow: str = ""
    store: str = ""


class RouteSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Requests that belong together."""

    name: str
    path: str
    """Template; `{name}` is one segment, `{name:path}` the rest."""
    methods: tuple[str, ...] = ("GET",)
    key: str = ""
    """Ordering key and bucket: a parameter's name, `header:NAME`, `query:NAME`, `jwt:CLAIM` of the bearer token, or
    `json:member.member` of the body; compared without case."""
    mirror: MirrorPolicy = MirrorPolicy.MIRROR
    writes: WritePolicy = WritePolicy.MIRROR
    sample: Share = 1.0
    """Share of the keys (sticky) that is journaled."""
    record_if: RecordIf | None = None
    """Of these, journal only what this rule wants; empty: everything."""
    mirror_per_s_max: PerSecond = 0.0
    """Mirror at most so many a second, all workers together; 0 is no limit. The rest is skipped (`rate_limited`)."""


class ServeSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Who answers clients until a person or the rollout says otherwise."""

    side: Side = Side.CANDIDATE
    percent: Percent = 100.0
    """Share of clients that `side` serves; the other side serves the rest."""
    salt: str = "shadow"
    """Keys the hash of the buckets; fixed for the life of a migration, or clients change sides."""
    state_file: str = "var/switch.json"
    sentinel_file: str = "var/rollback"
    """While this file exists, the legacy serves."""
    fall_back: bool = False
    """Whether the other side answers safe requests that the served side failed (502, 504)."""


class LimitSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """What a client may use; the status code is the answer when it is exceeded."""

    header_max_bytes: Count = 32 * 1024
    """431."""
    headers_max: Count = 128
    """431."""
    target_max_bytes: Count = 8 * 1024
    """414."""
    body_max_bytes: Count = 16 * 1024**2
    """413."""
    header_s: Positive = 10.0
    """408: from the first byte of a request to the end of its header."""
    body_idle_s: Positive = 30.0
    """408: without a byte of the body."""
    idle_s: Positive = 75.0
    """An unused client's connection is closed."""
    ttfb_s: Positive = 30.0
    """504: from the request sent to the response's header."""
    total_s: Positive = 120.0
    """504: from the request's header to the end of the response."""
    tunnel_idle_s: Positive = 600.0
    """An upgraded connection without a byte is closed."""
    connections_max: Count = 4096
    """503."""
    drain_s: Positive = 10.0
    """How long requests in flight may take after SIGTERM."""
    drain_idle_s: Annotated[float, Meta(ge=0)] = 2.0
    """How long after SIGTERM an unused connection may bring one more request, which is answered with Connection: close."""


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """All of config.yaml."""

    listen: ListenSettings = ListenSettings()
    admin: AdminSettings = AdminSettings()
    backends: BackendsSettings = BackendsSettings()
    databases: DatabasesSettings = DatabasesSettings()
    routes: tuple[RouteSettings, ...] = ()
    serve: ServeSettings = ServeSettings()
    limits: LimitSettings = LimitSettings()
    journal: JournalSettings = JournalSettings()
    mirroring: MirroringSettings = MirroringSettings()
    capture: CaptureSettings = CaptureSettings()
    compare: CompareSettings = CompareSettings()
    store: StoreSettings = StoreSettings()
    runner: RunnerSettings = RunnerSettings()
    rollout: RolloutSettings = RolloutSettings()
    replay: ReplaySettings = ReplaySettings()


def load(raw: str, environ: Mapping[str, str]) -> Settings:
    """Read config.yaml's text.

    Raises:
        SettingsError: with the path of what is wrong.
    """
    try:
        document: Any = yaml.safe_load(raw)
        filled = _interpolate({} if document is None else document, environ, "$")
    except (yaml.YAMLError, ValueError) as error:
        # (a ValueError is a date that does not exist, or a number of too many digits)
        raise SettingsError("not YAML: " + str(error).replace('in "<unicode string>", ', "at ")) from error
    except RecursionError as error:
        raise SettingsError("not YAML: nested too deeply, or a part contains itself") from error
    try:
        # Not strict: what comes from the environment is text where a number or a truth value is meant.
        settings = msgspec.convert(_worded(filled), Settings, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(str(error)) from error
    _check(settings)
    return settings


def _worded(document: Any) -> Any:
    """The document with `off` where it is the name of a choice: bare, YAML reads it as false."""
    if not isinstance(document, dict):
        return document
    sections = cast("dict[Any, Any]", document)
    choices = {"capture": "driver", "runner": "resync"}
    return sections | {name: with_words(sections[name], choices[name]) for name in choices if name in sections}


def _interpolate(node: Any, environ: Mapping[str, str], path: str) -> Any:
    match node:
        case str():
            return _fill(node, environ, path)
        case dict():
            members = cast("dict[Any, Any]", node)
            return {name: _interpolate(value, environ, f"{path}.{name}") for name, value in members.items()}
        case list():
            items = cast("list[Any]", node)
            return [_interpolate(value, environ, f"{path}[{index}]") for index, value in enumerate(items)]
        case _:
            return node


def _fill(text: str, environ: Mapping[str, str], path: str) -> str:
    def value(match: re.Match[str]) -> str:
        name, default = match.group(1), match.group(2)
        found = environ.get(name) or default
        if found is None:
            raise SettingsError(f"environment variable {name} is not set - at `{path}`")
        return found

    return VARIABLE.sub(value, text)


def _check(settings: Settings) -> None:
    """What the types cannot say."""
    for network in settings.listen.trusted_networks:
        try:
            ip_network(network)
        except ValueError as error:
            raise SettingsError(f"{error} - at `$.listen.trusted_networks`") from error
    for side in Side:
        for role in Role:
            _check_url(settings.backends.of(side, role).url, side, role)
    if settings.listen.workers > 1 and not settings.listen.port:
        raise SettingsError("several workers need a port to share - at `$.listen.port`")
    names = [route.name for route in settings.routes]
    if len(set(names)) != len(names):
        raise SettingsError("two routes have one name - at `$.routes`")
    strangers = sorted(settings.compare.routes.keys() - set(names))
    if strangers:
        raise SettingsError(
            f"no route is called {', '.join(strangers)}, so its rules hold nowhere - at `$.compare.routes`"
        )
    _check_record_if(settings)
    _check_keys(settings)
    problem = problem_of(settings.rollout, tuple(names))
    if problem:
        raise SettingsError(problem)


def _check_keys(settings: Settings) -> None:
    """Without a key of the routes' kind, rows would be tied to no request in silence."""
    kinds = {key.kind for table in settings.compare.tables.values() for key in table.keys}
    wanted = settings.compare.route_kind
    if kinds and wanted not in kinds:
        raise SettingsError(
            f"no key is of kind `{wanted}`, which is that of every route's key (compare.route_kind), so no row could be tied to a "
            f"request; found: {', '.join(sorted(kinds))} - at `$.compare.tables`"
        )


def _check_record_if(settings: Settings) -> None:
    """Which exchanges differ is known only where they are mirrored."""
    backends = settings.backends
    mirrored = settings.journal.enabled and any(backends.of(side, Role.MIRRORED).url for side in Side)
    for number, route in enumerate(settings.routes):
        if route.record_if is None or route.record_if.only is RecordOnly.ALL:
            continue
        place = f"at `$.routes[{number}].record_if.only`"
        if route.mirror is MirrorPolicy.SKIP:
            raise SettingsError(
                f"`record_if.only: mismatches` was asked of a route that is not mirrored (mirror: skip) - {place}"
            )
        if not mirrored:
            raise SettingsError(
                "`record_if.only: mismatches` was asked where nothing is mirrored: give backends a shadow url and enable the journal, "
                f"or leave `only` out - {place}"
            )


def _check_url(url: str, side: Side, role: Role) -> None:
    place = f"at `$.backends.{side}.{'live' if role is Role.SERVED else 'shadow'}.url`"
    try:
        parts = urlsplit(url)
        usable = not url or (parts.scheme in ("http", "https") and parts.hostname and parts.port != 0)
    except ValueError as error:
        raise SettingsError(f"{error} - {place}") from error
    if not usable:
        raise SettingsError(f"{url!r} is not an http(s) URL - {place}")
    if parts.query or parts.fragment:
        raise SettingsError(f"a backend's URL has no query - {place}")
