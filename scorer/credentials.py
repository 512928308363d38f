"""Proof verification by didkit: the only module that knows it. A verdict about the same bytes is remembered.

didkit checks the proof alone; issuer, expiry and subject are checked by the scoring every time. It runs in its own threads, so the
event loop only waits; how many run at once is bounded. It can panic on malformed proofs: such a credential is just not valid.
A process that used didkit may crash while the interpreter exits, so it must end with os._exit (see `scorer.__main__`).
"""

import asyncio
import hashlib
import time
from collections import OrderedDict
from typing import Any, Protocol

import msgspec

from scorer.metrics import Metrics

_OPTIONS = '{"proofPurpose":"assertionMethod"}'


class CredentialVerifier(Protocol):
    """Says whether a credential's proof holds."""

    async def verify(self, credential: str) -> bool:
        """Whether the proof of this credential (JSON text) is valid."""
        ...


class DidkitVerifier:
    """didkit behind a bounded cache of verdicts, keyed by the digest of the credential's text.

    The texts come from jsonb columns, whose output is canonical: equal credentials are equal texts.

    Args:
        in_progress_max: verifications that run at the same time.
        cached_max: verdicts kept, the least recently used dropped first.
    """

    def __init__(self, metrics: Metrics, *, in_progress_max: int, cached_max: int) -> None:
        self._metrics = metrics
        self._cached_max = cached_max
        self._verdicts: OrderedDict[bytes, bool] = OrderedDict()
        self._slots = asyncio.Semaphore(in_progress_max)

    async def verify(self, credential: str) -> bool:
        """Whether the proof of this credential (JSON text) is valid."""
        digest = hashlib.blake2b(credential.encode(), digest_size=32).digest()
        known = self._verdicts.get(digest)
        if known is not None:
            self._verdicts.move_to_end(digest)
            self._metrics.proofs_checked.labels("hit").inc()
            return known
        self._metrics.proofs_checked.labels("miss").inc()
        async with self._slots:
            started = time.perf_counter()
            verdict = await _proof_holds(credential)
            self._metrics.verification_seconds.observe(time.perf_counter() - started)
        self._remember(digest, verdict=verdict)
        return verdict

    def _remember(self, digest: bytes, *, verdict: bool) -> None:
        self._verdicts[digest] = verdict
        while len(self._verdicts) > self._cached_max:
            self._verdicts.popitem(last=False)
        self._metrics.proofs_cached.set(len(self._verdicts))


async def _proof_holds(credential: str) -> bool:
    import didkit  # noqa: PLC0415 (loaded with the first credential: a process that never scores never pays for it)

    try:
        result: Any = msgspec.json.decode(await didkit.verify_credential(credential, _OPTIONS))
    except Exception:  # noqa: BLE001 (didkit raises its own errors and, on a panic in Rust, a plain subclass of Exception)
        return False
    return not result["errors"]
