"""Verdicts about proofs: real verification, remembered within bounds."""

import asyncio
import json

import pytest
from prometheus_client import CollectorRegistry

from scorer.credentials import DidkitVerifier
from scorer.metrics import Metrics
from scorer.population.issuer import Issuer, tampered

ISSUER = Issuer("credentials tests")
GOOD = [
    json.dumps(ISSUER.issue(f"0x{n:040x}", "Github", [f"v0:{n}"], expires="2099-12-31T23:59:59Z")) for n in range(4)
]
BAD = json.dumps(tampered(json.loads(GOOD[0])))


@pytest.fixture
def metrics():
    return Metrics(CollectorRegistry())


@pytest.fixture
def verifier(metrics):
    return DidkitVerifier(metrics, in_progress_max=2, cached_max=3)


def looked_up(metrics, result: str) -> float:
    return metrics.registry.get_sample_value("scorer_proofs_checked_total", {"result": result}) or 0.0


async def test_verdicts_come_in_the_order_of_the_credentials(verifier):
    assert await verifier.verify_all([GOOD[0], BAD, GOOD[1]]) == [True, False, True]


async def test_no_credentials_need_no_verdict(verifier):
    assert await verifier.verify_all([]) == []


async def test_known_proof_is_not_verified_again(verifier, metrics):
    await verifier.verify_all(GOOD[:1])
    await verifier.verify_all(GOOD[:1])
    assert (looked_up(metrics, "miss"), looked_up(metrics, "hit")) == (1, 1)


async def test_bad_proof_is_remembered_as_bad(verifier, metrics):
    assert [await verifier.verify_all([BAD]) for _ in range(2)] == [[False], [False]]
    assert looked_up(metrics, "hit") == 1


async def test_one_credential_twice_is_verified_once(verifier, metrics):
    assert await verifier.verify_all([GOOD[0], GOOD[0]]) == [True, True]
    assert metrics.registry.get_sample_value("scorer_verification_seconds_count") == 1


async def test_least_recently_used_verdict_is_dropped(verifier, metrics):
    # One at a time: concurrent verifications enter the cache in the order in which they end, which is undefined.
    for turn in (0, 1, 2, 0, 3, 0, 1):
        await verifier.verify_all([GOOD[turn]])
    assert metrics.registry.get_sample_value("scorer_verification_seconds_count") == 5
    assert metrics.registry.get_sample_value("scorer_proofs_cached") == 3


@pytest.mark.parametrize(
    "text", ["{}", "null", "[]", '{"proof": {"type": "EthereumEip712Signature2021", "proofValue": "0x12"}}']
)
async def test_credential_that_didkit_cannot_read_is_invalid(verifier, text):
    assert await verifier.verify_all([text]) == [False]


async def test_proof_that_makes_the_library_panic_is_not_valid(verifier):
    credential = json.loads(GOOD[0])
    credential["proof"]["proofValue"] = "0x12"
    assert await verifier.verify_all([json.dumps(credential)]) == [False]


async def test_many_at_once_are_all_answered(verifier):
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(verifier.verify_all(GOOD), name=f"ask-{n}") for n in range(8)]
    assert [task.result() for task in tasks] == [[True] * 4] * 8
