"""Verify the proofs of credentials with didkit (the only module that imports it), caching the result by the credential's bytes.

didkit checks the proof alone; the scoring checks issuer, expiry and subject every time. It runs in its own threads, so the event
loop does not block; the number of concurrent verifications is bounded. It panics on some malformed proofs, which count as invalid.
A process that used didkit may crash during interpreter shutdown, so it must end with os._exit (see `scorer.__main__`).
"""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from scorer.metrics import Metrics

_OPTIONS = '{"proofPurpose":"assertionMethod"}'


class CredentialVerifier(Protocol):
    """Verifies the proofs of credentials."""

    async def verify_all(self, credentials: Sequence[str]) -> list[bool]:
        """Verify each credential (a JSON text); the results are in input order."""
        ...


class DidkitVerifier:
    """didkit behind a bounded LRU cache of results, keyed by the digest of the credential's text.

    The texts come from jsonb columns, whose output is canonical: equal credentials are equal texts.

    Args:
        in_progress_max: concurrent verifications.
        cached_max: cached results.
    """

    def __init__(self, metrics: Metrics, *, in_progress_max: int, cached_max: int) -> None:
        self._metrics = metrics
        self._cached_max = cached_max
        self._verdicts: OrderedDict[bytes, bool] = OrderedDict()
        self._slots = asyncio.Semaphore(in_progress_max)

    async def verify_all(self, credentials: Sequence[str]) -> list[bool]:
        """See `CredentialVerifier`."""
        digests = [hashlib.blake2b(credential.encode(), digest_size=32).digest() for credential in credentials]
        missing = {
            digest: credential
            for digest, credential in zip(digests, credentials, strict=True)
            if digest not in self._verdicts
        }
        self._metrics.proofs_checked.labels("hit").inc(len(credentials) - len(missing))
        verdicts = {digest: self._recall(digest) for digest in digests if digest not in missing}
        if missing:
            self._metrics.proofs_checked.labels("miss").inc(len(missing))
            verdicts.update(await self._verify_missing(missing))
        return [verdicts[digest] for digest in digests]

    async def _verify_missing(self, missing: Mapping[bytes, str]) -> dict[bytes, bool]:
        async with asyncio.TaskGroup() as group:
            tasks = {
                digest: group.create_task(self._verify(digest, credential), name="verify-proof")
                for digest, credential in missing.items()
            }
        return {digest: task.result() for digest, task in tasks.items()}

    async def _verify(self, digest: bytes, credential: str) -> bool:
        async with self._slots:
            started = time.perf_counter()
            verdict = await _proof_holds(credential)
            self._metrics.verification_seconds.observe(time.perf_counter() - started)
        self._remember(digest, verdict=verdict)
        return verdict

    def _recall(self, digest: bytes) -> bool:
        self._verdicts.move_to_end(digest)
        return self._verdicts[digest]

    def _remember(self, digest: bytes, *, verdict: bool) -> None:
        self._verdicts[digest] = verdict
        while len(self._verdicts) > self._cached_max:
            self._verdicts.popitem(last=False)
        self._metrics.proofs_cached.set(len(self._verdicts))


async def _proof_holds(credential: str) -> bool:
    import didkit  # noqa: PLC0415 (loaded with the first credential: commands that never score skip its start-up cost)

    try:
        result: Any = msgspec.json.decode(await didkit.verify_credential(credential, _OPTIONS))
    except Exception:  # noqa: BLE001 (didkit raises its own errors and, on a panic in Rust, a plain subclass of Exception)
        return False
    return not result["errors"]
