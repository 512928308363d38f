"""What the tests of gunicorn and of llhttp say of HTTP/1.1, case by case through the proxy and over sockets.

The cases and where they come from: tests/data/corpus. Where the proxy does otherwise: tests/support/http_corpus_differences.py.
"""

from pathlib import Path

import pytest

from tests.support.http_corpus_differences import requests_that_differ, responses_that_differ
from tests.support.http_corpus import (
    NO_REFUSAL,
    CorpusCase,
    Outcome,
    Response,
    CaseBackend,
    ExpectedOutcome,
    repaired,
    response_to_case,
    cases,
    with_host,
    is_connection_poisoned,
    send_case,
    expected_outcome,
    expected_response,
)
from tests.support.proxying import Backend, lab, ok

LIMITED = ("LimitRequestLine", "LimitRequestHeaders")
REQUESTS = {name: case for corpus in ("gunicorn", "llhttp") for name, case in cases(corpus, "request").items()}
ABOUT_LIMITS = {name: case for name, case in REQUESTS.items() if case.error in LIMITED}
PLAIN = {name: case for name, case in REQUESTS.items() if name not in ABOUT_LIMITS}
RESPONSES = cases("llhttp", "response")
DIFFER, RESPONSES_DIFFER = requests_that_differ(), responses_that_differ()


def backend() -> Backend:
    """One whose responses have no body, which HEAD could not have."""
    return Backend(response=lambda _: ok(b""))


def expected(name: str, case: CorpusCase) -> ExpectedOutcome:
    """What the table of differences says, else what the corpus says."""
    instead = DIFFER.get(name)
    return (
        expected_outcome(case) if instead is None else ExpectedOutcome(instead.forwarded, frozenset((instead.refused,)))
    )


def lacks(case: CorpusCase) -> bool:
    """Whether the first request of a case, as it stands, is one that no proxy may pass."""
    stands, amends = (data.lstrip(b"\r\n").partition(b"\r\n\r\n") for data in (case.raw, with_host(case)))
    return bool(stands[1]) and stands[0] != amends[0]


def ended(name: str, case: CorpusCase) -> bytes:
    """The case as it is sent: amended, and brought to the end of its header where the proxy means to refuse it."""
    data = repaired(case)
    refused_only_here = expected(name, case).refused != NO_REFUSAL and b"\r\n\r\n" not in data.lstrip(b"\r\n")
    return data + b"\r\n\r\n" if refused_only_here else data


async def wrong(
    tmp_path: Path, sent: dict[str, CorpusCase], *, pieces: int = 0
) -> dict[str, tuple[Outcome, ExpectedOutcome]]:
    """What came of each case about requests and what was to come of it, where that is not the same."""
    found: dict[str, tuple[Outcome, ExpectedOutcome]] = {}
    async with lab(tmp_path, candidate=backend()) as it:
        for name, case in sent.items():
            want = expected(name, case)
            outcome = await send_case(it, ended(name, case), [one.method for one in want.forwarded], pieces=pieces)
            if not want.allows(outcome):
                found[name] = (outcome, want)
    return found


async def test_requests_are_forwarded_or_refused_as_the_corpora_say(tmp_path: Path) -> None:
    assert await wrong(tmp_path, PLAIN) == {}


async def test_requests_that_come_in_pieces_are_read_no_otherwise(tmp_path: Path) -> None:
    assert await wrong(tmp_path, PLAIN, pieces=13) == {}


async def test_a_request_without_a_host_or_with_a_fragment_is_refused(tmp_path: Path) -> None:
    lacking = {name: case for name, case in PLAIN.items() if lacks(case)}
    async with lab(tmp_path, candidate=backend()) as it:
        found = {name: await send_case(it, case.raw, ["GET"]) for name, case in lacking.items()}
    assert {name: outcome for name, outcome in found.items() if outcome.forwarded or not outcome.refused} == {}


@pytest.mark.parametrize("case", ABOUT_LIMITS.values(), ids=ABOUT_LIMITS.keys())
async def test_a_limit_that_is_exceeded_has_its_status(tmp_path: Path, case: CorpusCase) -> None:
    data = repaired(case)
    many = "limit_request_fields" in case.options or data.count(b"\r\n") > 100
    limits = {"target_max_bytes": 4094} if case.error == "LimitRequestLine" else {}
    # gunicorn limits each field, the proxy the header as a whole: here to one byte less than it has.
    limits |= {"headers_max": case.options.get("limit_request_fields", 100)} if many else {}
    limits |= {} if limits else {"header_max_bytes": data.index(b"\r\n\r\n") + 3}
    async with lab(tmp_path, candidate=backend(), limits=limits) as it:
        assert expected_outcome(case).allows(await send_case(it, data, []))


async def test_responses_reach_the_client_or_are_a_502_as_llhttp_says(tmp_path: Path) -> None:
    script = CaseBackend()
    differing: dict[str, tuple[Response | None, Response | None]] = {}
    async with lab(tmp_path, candidate=Backend(handler=script.converse)) as it:
        for name, case in RESPONSES.items():
            script.data = case.raw
            client = await it.client()
            want = RESPONSES_DIFFER.get(name, expected_response(case))
            found = await response_to_case(client, script)
            if found != want or await is_connection_poisoned(it, client):
                differing[name] = (found, want)
            client.close()
    assert differing == {}


def test_what_is_listed_as_a_difference_is_one() -> None:
    same = [name for name, instead in DIFFER.items() if expected_outcome(REQUESTS[name]).allows(instead)]
    same += [name for name, instead in RESPONSES_DIFFER.items() if expected_response(RESPONSES[name]) == instead]
    assert same == []


def test_the_corpora_are_all_there() -> None:
    accepted = [name for name, case in REQUESTS.items() if expected_outcome(case).forwarded]
    refused = [name for name, case in REQUESTS.items() if expected_outcome(case).refused != NO_REFUSAL]
    read = [name for name, case in RESPONSES.items() if expected_response(case) is not None]
    assert (len(REQUESTS), len(accepted), len(refused)) == (295, 143, 135)
    assert (len(RESPONSES), len(read)) == (73, 47)
