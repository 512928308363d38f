"""The test cases of gunicorn and llhttp for HTTP/1.1, each sent through the proxy over sockets.

The cases and their sources: tests/data/corpus. The differences and their reasons: tests/support/http_corpus_differences.py.
"""

from pathlib import Path

import pytest

from tests.support.http_corpus import (
    NO_REFUSAL,
    CaseBackend,
    CorpusCase,
    ExpectedOutcome,
    Outcome,
    Response,
    cases,
    expected_outcome,
    expected_response,
    is_connection_poisoned,
    repaired,
    response_to_case,
    send_case,
    with_host,
)
from tests.support.http_corpus_differences import requests_that_differ, responses_that_differ
from tests.support.proxy_lab import ScriptedBackend, ok, proxy_lab

LIMITED = ("LimitRequestLine", "LimitRequestHeaders")
REQUESTS = {name: case for corpus in ("gunicorn", "llhttp") for name, case in cases(corpus, "request").items()}
ABOUT_LIMITS = {name: case for name, case in REQUESTS.items() if case.error in LIMITED}
PLAIN = {name: case for name, case in REQUESTS.items() if name not in ABOUT_LIMITS}
RESPONSES = cases("llhttp", "response")
DIFFER, RESPONSES_DIFFER = requests_that_differ(), responses_that_differ()


def backend() -> ScriptedBackend:
    """Return a backend whose responses have no body, so that they fit HEAD too."""
    return ScriptedBackend(response=lambda _: ok(b""))


def expected(name: str, case: CorpusCase) -> ExpectedOutcome:
    """Return the outcome in the table of differences, else that of the corpus."""
    difference = DIFFER.get(name)
    return (
        expected_outcome(case)
        if difference is None
        else ExpectedOutcome(difference.forwarded, frozenset((difference.refused,)))
    )


def must_be_refused(case: CorpusCase) -> bool:
    """Return whether the first request of a case, unamended, must not be forwarded by any proxy."""
    original, amended = (data.lstrip(b"\r\n").partition(b"\r\n\r\n") for data in (case.raw, with_host(case)))
    return bool(original[1]) and original[0] != amended[0]


def completed(name: str, case: CorpusCase) -> bytes:
    """Return the bytes to send: the case amended, and its header ended where the proxy is expected to refuse it."""
    data = repaired(case)
    refused_only_here = expected(name, case).refused != NO_REFUSAL and b"\r\n\r\n" not in data.lstrip(b"\r\n")
    return data + b"\r\n\r\n" if refused_only_here else data


async def unexpected_outcomes(
    tmp_path: Path, sent: dict[str, CorpusCase], *, pieces: int = 0
) -> dict[str, tuple[Outcome, ExpectedOutcome]]:
    """Send each case; return outcome and expected outcome of those where they differ."""
    differing: dict[str, tuple[Outcome, ExpectedOutcome]] = {}
    async with proxy_lab(tmp_path, candidate=backend()) as it:
        for name, case in sent.items():
            expectation = expected(name, case)
            outcome = await send_case(
                it, completed(name, case), [request.method for request in expectation.forwarded], pieces=pieces
            )
            if not expectation.allows(outcome):
                differing[name] = (outcome, expectation)
    return differing


async def test_requests_are_forwarded_or_refused_as_in_the_corpora(tmp_path: Path) -> None:
    assert await unexpected_outcomes(tmp_path, PLAIN) == {}


async def test_pieces_of_a_corpus_request_do_not_matter(tmp_path: Path) -> None:
    assert await unexpected_outcomes(tmp_path, PLAIN, pieces=13) == {}


async def test_request_without_a_host_or_with_a_fragment_is_refused(tmp_path: Path) -> None:
    invalid = {name: case for name, case in PLAIN.items() if must_be_refused(case)}
    async with proxy_lab(tmp_path, candidate=backend()) as it:
        outcomes = {name: await send_case(it, case.raw, ["GET"]) for name, case in invalid.items()}
    assert {name: outcome for name, outcome in outcomes.items() if outcome.forwarded or not outcome.refused} == {}


@pytest.mark.parametrize("case", ABOUT_LIMITS.values(), ids=ABOUT_LIMITS.keys())
async def test_exceeded_limit_has_its_status(tmp_path: Path, case: CorpusCase) -> None:
    data = repaired(case)
    many = "limit_request_fields" in case.options or data.count(b"\r\n") > 100
    limits = {"target_max_bytes": 4094} if case.error == "LimitRequestLine" else {}
    # gunicorn limits each field, the proxy the whole header: here to one byte less than it has.
    limits |= {"headers_max": case.options.get("limit_request_fields", 100)} if many else {}
    limits |= {} if limits else {"header_max_bytes": data.index(b"\r\n\r\n") + 3}
    async with proxy_lab(tmp_path, candidate=backend(), limits=limits) as it:
        assert expected_outcome(case).allows(await send_case(it, data, []))


async def test_responses_are_forwarded_or_a_502_as_in_llhttp(tmp_path: Path) -> None:
    script = CaseBackend()
    differing: dict[str, tuple[Response | None, Response | None]] = {}
    async with proxy_lab(tmp_path, candidate=ScriptedBackend(handler=script.converse)) as it:
        for name, case in RESPONSES.items():
            script.data = case.raw
            client = await it.client()
            expected_ = RESPONSES_DIFFER.get(name, expected_response(case))
            response = await response_to_case(client, script)
            if response != expected_ or await is_connection_poisoned(it, client):
                differing[name] = (response, expected_)
            client.close()
    assert differing == {}


def test_every_listed_difference_is_one() -> None:
    same = [name for name, difference in DIFFER.items() if expected_outcome(REQUESTS[name]).allows(difference)]
    same += [name for name, response in RESPONSES_DIFFER.items() if expected_response(RESPONSES[name]) == response]
    assert same == []


def test_corpora_are_complete() -> None:
    accepted = [name for name, case in REQUESTS.items() if expected_outcome(case).forwarded]
    refused = [name for name, case in REQUESTS.items() if expected_outcome(case).refused != NO_REFUSAL]
    read = [name for name, case in RESPONSES.items() if expected_response(case) is not None]
    assert (len(REQUESTS), len(accepted), len(refused)) == (295, 143, 135)
    assert (len(RESPONSES), len(read)) == (73, 47)
