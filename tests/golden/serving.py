"""Start the scorer in this process on an ephemeral port, as its composition root builds it."""

import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cache

from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from prometheus_client import CollectorRegistry

from scorer import app as scorer_app
from scorer import settings as scorer_settings

ALLOWED_HOSTS = '["testserver", "localhost", "127.0.0.1"]'


@asynccontextmanager
async def serving(environ: Mapping[str, str], *, registry: CollectorRegistry | None = None) -> AsyncIterator[int]:
    """Run a scorer with these settings and yield its port; its metrics are in `registry`."""
    app = scorer_app.build(scorer_settings.load(environ), registry=registry)
    runner = web.AppRunner(app, access_log=None, auto_decompress=False)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def environment(recorded: Mapping[str, str], *, database_url: str, redis_url: str) -> dict[str, str]:
    """Complete recorded settings with this run's services and a signing key; recordings contain public keys only."""
    signing = {"SIWE_JWT_PRIVATE_KEY": signing_key()[0]} if recorded.get("SIWE_JWT_PUBLIC_KEY") else {}
    return {
        "ALLOWED_HOSTS": ALLOWED_HOSTS,
        **signing,
        **recorded,
        "DATABASE_URL": database_url,
        "CELERY_BROKER_URL": redis_url,
        "SCORER_POOL_MIN": "1",
    }


@cache
def signing_key() -> tuple[str, str]:
    """Return an RSA key pair of this process: the private PEM in base64, as the legacy reads it, and the public PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(private).decode(), public.decode()
