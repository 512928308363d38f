"""The scorer's settings: the legacy's environment variables with its defaults, and new ones that start with SCORER_.

`load` is pure; only `scorer.__main__` passes the real environment. Secrets come from the environment alone.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from scorer.domain.analysis import MODEL_NAMES
from scorer.errors import ScorerSettingsError

_MODEL_VARIABLES = {name: ("ETHEREUM" if name == "ethereum_activity" else name.upper()) for name in MODEL_NAMES}
_TRUSTED_ISSUERS_DEFAULT: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HumanPoints:
    """Human points: written from the start (Unix seconds) on, and shown, as configured."""

    write: bool = False
    show: bool = False
    mta: bool = False
    start_timestamp_s: int = 0


@dataclass(frozen=True, slots=True)
class Demo:
    """The demo key: header values in `aliases` are replaced by `api_key`, negative scorer ids by `scorer_id`."""

    api_key: str | None = None
    aliases: frozenset[str] = frozenset()
    scorer_id: str = "None"


@dataclass(frozen=True, slots=True)
class RateLimitSettings:
    """Limits and timeouts, each with its unit in the name."""

    body_max_bytes: int = 2_621_440
    body_too_large_status: int = 400
    stamps_max: int = 100
    requests_in_progress_max: int = 64
    pool_max: int = 16
    acquire_timeout_s: float = 30.0
    statement_timeout_s: float = 30.0
    verifications_in_progress_max: int = 4
    proofs_cached_max: int = 50_000
    store_timeout_s: float = 0.5
    drain_s: float = 10.0


@dataclass(frozen=True, slots=True)
class ScorerSettings:
    """All settings of one scorer process. `community_default` is CERAMIC_CACHE_SCORER_ID as given: the id of a community."""

    database_url: str
    redis_url: str = ""
    secret_key: str = ""
    siwe_jwt_public_key: str = ""
    siwe_jwt_private_key: str = ""
    internal_token: str = "abc"  # noqa: S105 (the legacy's own default)
    community_default: str = ""
    trusted_issuers: frozenset[str] = frozenset(_TRUSTED_ISSUERS_DEFAULT)
    v2_enabled: bool = True
    analytics: bool = False
    human_points: HumanPoints = field(default_factory=HumanPoints)
    rate_limits: bool = False
    demo: Demo = field(default_factory=Demo)
    passport_public_url: str = "http://localhost:80"
    model_endpoints: Mapping[str, str] = field(default_factory=dict[str, str])
    siwe_domains: frozenset[str] = frozenset()
    alchemy_api_key: str = ""
    allowed_hosts: tuple[str, ...] = ("*",)
    emit_request_id: bool = True
    scoring_events: bool = False
    admin_host: str = "127.0.0.1"
    admin_port: int = -1
    log_level: str = "INFO"
    otlp_endpoint: str = ""
    limits: RateLimitSettings = field(default_factory=RateLimitSettings)


def load(environ: Mapping[str, str]) -> ScorerSettings:
    """Read the settings from an environment.

    Raises:
        ScorerSettingsError: a variable cannot be parsed, or DATABASE_URL is missing.
    """
    database_url = environ.get("DATABASE_URL") or environ.get("RDS_PROXY_URL", "")
    if not database_url:
        raise ScorerSettingsError("DATABASE_URL is not set")
    return ScorerSettings(
        database_url=database_url,
        redis_url=environ.get("SCORER_REDIS_URL", environ.get("CELERY_BROKER_URL", "")),
        secret_key=environ.get("SECRET_KEY", ""),
        siwe_jwt_public_key=_pem(environ, "SIWE_JWT_PUBLIC_KEY"),
        siwe_jwt_private_key=_pem(environ, "SIWE_JWT_PRIVATE_KEY"),
        internal_token=environ.get("CGRANTS_API_TOKEN", "abc"),
        community_default=environ.get("CERAMIC_CACHE_SCORER_ID", ""),
        trusted_issuers=frozenset(_texts(environ, "TRUSTED_IAM_ISSUERS", _TRUSTED_ISSUERS_DEFAULT)),
        v2_enabled=environ.get("FF_V2_API", "on") == "on",
        analytics=environ.get("FF_API_ANALYTICS", "Off") == "on",
        human_points=_human_points(environ),
        rate_limits=_flag(environ, "RATELIMIT_ENABLE"),
        demo=_demo(environ),
        passport_public_url=environ.get("PASSPORT_PUBLIC_URL", "http://localhost:80"),
        model_endpoints=_model_endpoints(environ),
        siwe_domains=frozenset(d.lower() for d in _texts(environ, "SIWE_ALLOWED_DOMAINS_CERAMIC_CACHE", ())),
        alchemy_api_key=environ.get("ALCHEMY_API_KEY", ""),
        allowed_hosts=_texts(environ, "ALLOWED_HOSTS", ("*",)),
        emit_request_id=_flag(environ, "SCORER_EMIT_REQUEST_ID", default=True),
        scoring_events=_flag(environ, "SCORER_SCORING_EVENTS"),
        admin_host=environ.get("SCORER_ADMIN_HOST", "127.0.0.1"),
        admin_port=_integer(environ, "SCORER_ADMIN_PORT", -1),
        log_level=environ.get("SCORER_LOG_LEVEL", "INFO").upper(),
        otlp_endpoint=environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", ""),
        limits=_limits(environ),
    )


def _human_points(environ: Mapping[str, str]) -> HumanPoints:
    return HumanPoints(
        write=_flag(environ, "HUMAN_POINTS_WRITE_ENABLED"),
        show=_flag(environ, "HUMAN_POINTS_ENABLED"),
        mta=_flag(environ, "HUMAN_POINTS_MTA_ENABLED"),
        start_timestamp_s=_integer(environ, "HUMAN_POINTS_START_TIMESTAMP", 0),
    )


def _demo(environ: Mapping[str, str]) -> Demo:
    return Demo(
        api_key=environ.get("DEMO_API_KEY") or None,
        aliases=frozenset(_texts(environ, "DEMO_API_KEY_ALIASES", ())),
        # The legacy formats an unset variable as the text "None", which matches no community.
        scorer_id=environ.get("DEMO_API_SCORER_ID") or "None",
    )


def _limits(environ: Mapping[str, str]) -> RateLimitSettings:
    defaults = RateLimitSettings()
    integer, decimal = _integer, _decimal
    return RateLimitSettings(
        body_max_bytes=integer(environ, "SCORER_BODY_MAX_BYTES", defaults.body_max_bytes),
        body_too_large_status=413 if "SCORER_BODY_MAX_BYTES" in environ else defaults.body_too_large_status,
        requests_in_progress_max=integer(environ, "SCORER_REQUESTS_IN_PROGRESS_MAX", defaults.requests_in_progress_max),
        pool_max=integer(environ, "SCORER_POOL_MAX", defaults.pool_max),
        acquire_timeout_s=decimal(environ, "SCORER_ACQUIRE_TIMEOUT_S", defaults.acquire_timeout_s),
        statement_timeout_s=decimal(environ, "SCORER_STATEMENT_TIMEOUT_S", defaults.statement_timeout_s),
        verifications_in_progress_max=integer(
            environ, "SCORER_VERIFICATIONS_IN_PROGRESS_MAX", defaults.verifications_in_progress_max
        ),
        proofs_cached_max=integer(environ, "SCORER_PROOFS_CACHED_MAX", defaults.proofs_cached_max),
        store_timeout_s=decimal(environ, "SCORER_STORE_TIMEOUT_S", defaults.store_timeout_s),
        drain_s=decimal(environ, "SCORER_DRAIN_S", defaults.drain_s),
    )


def _model_endpoints(environ: Mapping[str, str]) -> dict[str, str]:
    endpoints: dict[str, str] = {}
    for number, (name, variable) in enumerate(_MODEL_VARIABLES.items()):
        endpoints[name] = environ.get(f"{variable}_MODEL_ENDPOINT", f"http://localhost:{5000 + number}/")
    return endpoints


def _flag(environ: Mapping[str, str], name: str, *, default: bool = False) -> bool:
    raw = environ.get(name)
    return default if raw is None else raw.strip().lower() in {"true", "on", "ok", "y", "yes", "1"}


def _integer(environ: Mapping[str, str], name: str, default: int) -> int:
    try:
        return int(environ.get(name) or default)
    except ValueError as error:
        raise ScorerSettingsError(f"{name} is not a whole number") from error


def _decimal(environ: Mapping[str, str], name: str, default: float) -> float:
    try:
        return float(environ.get(name) or default)
    except ValueError as error:
        raise ScorerSettingsError(f"{name} is not a number") from error


def _texts(environ: Mapping[str, str], name: str, default: tuple[str, ...]) -> tuple[str, ...]:
    raw = environ.get(name, "")
    if not raw:
        return default
    try:
        value = json.loads(raw)
    except ValueError as error:
        raise ScorerSettingsError(f"{name} is not a JSON array") from error
    if not isinstance(value, list):
        raise ScorerSettingsError(f"{name} is not a JSON array")
    return tuple(str(item) for item in cast("list[object]", value))


def _pem(environ: Mapping[str, str], name: str) -> str:
    """Read a PEM, given as text or in base64."""
    raw = environ.get(name, "")
    if not raw or raw.lstrip().startswith("-----"):
        return raw
    try:
        return base64.b64decode(raw, validate=True).decode()
    except ValueError as error:
        raise ScorerSettingsError(f"{name} is neither a PEM nor base64 of a PEM") from error
