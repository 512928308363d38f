"""Django's settings, read from the environment variables of the legacy."""

import json
import os
from urllib.parse import parse_qs, unquote, urlsplit


def database(url: str) -> dict:
    """Convert a libpq URI to Django's connection settings; `?host=/folder` names a unix socket."""
    parts = urlsplit(url)
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.lstrip("/"),
        "USER": unquote(parts.username or query.get("user", "")),
        "PASSWORD": unquote(parts.password or query.get("password", "")),
        "HOST": query.get("host") or parts.hostname or "",
        "PORT": query.get("port") or str(parts.port or ""),
        # A new connection per request; every statement is its own transaction.
        "CONN_MAX_AGE": 0,
        "ATOMIC_REQUESTS": False,
    }


def flag(name: str) -> bool:
    return os.environ.get(name, "off") == "on"


def truth(name: str) -> bool:
    return os.environ.get(name, "false").lower() in ("true", "on", "1", "yes", "y", "t", "ok")


SECRET_KEY = os.environ.get("SECRET_KEY", "stand-in")
DEBUG = False
ALLOWED_HOSTS = json.loads(os.environ.get("ALLOWED_HOSTS", '["*"]'))
ROOT_URLCONF = "tests.legacy.urls"
INSTALLED_APPS = ["tests.legacy"]
DATABASES = {"default": database(os.environ.get("DATABASE_URL", "postgresql:///legacy"))}
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "tests.legacy.middleware.cross_origin",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
SECURE_REFERRER_POLICY = "same-origin"
LOGGING_CONFIG = None

SIWE_JWT_PUBLIC_KEY = os.environ.get("SIWE_JWT_PUBLIC_KEY", "")
CERAMIC_CACHE_SCORER_ID = os.environ.get("CERAMIC_CACHE_SCORER_ID", "")
TRUSTED_IAM_ISSUERS = json.loads(os.environ.get("TRUSTED_IAM_ISSUERS", "[]"))
FF_MULTI_NULLIFIER = flag("FF_MULTI_NULLIFIER")
FF_API_ANALYTICS = flag("FF_API_ANALYTICS")
HUMAN_POINTS_WRITE_ENABLED = truth("HUMAN_POINTS_WRITE_ENABLED")
HUMAN_POINTS_START_TIMESTAMP = int(os.environ.get("HUMAN_POINTS_START_TIMESTAMP", "0"))
HUMAN_POINTS_MTA_ENABLED = truth("HUMAN_POINTS_MTA_ENABLED")
DEMO_API_KEY = os.environ.get("DEMO_API_KEY", "")
DEMO_API_KEY_ALIASES = json.loads(os.environ.get("DEMO_API_KEY_ALIASES", "[]"))
DEMO_API_SCORER_ID = os.environ.get("DEMO_API_SCORER_ID")

SHADOW_DIVERGENCES = os.environ.get("SHADOW_DIVERGENCES", "")
SHADOW_SLOW_RESPONSE_S = float(os.environ.get("SHADOW_SLOW_RESPONSE_S", "2"))
SHADOW_NOISE_S = float(os.environ.get("SHADOW_NOISE_S", "0"))
"""Every second score of a process expires so many seconds later: noise that makes this side differ from itself."""
