import pytest

from comparator.exchanges.model import Failed, FailureCause, Observation, Response, Role, Side
from comparator.exchanges.release import LABEL_CHARS_MAX, ReleasePair
from proxy.config.backends import BackendsSettings, SideInstances
from proxy.runner.releases import RELEASES_MAX, TOO_MANY, ReleaseReader

CONFIGURED = BackendsSettings(
    candidate=SideInstances(version="2.0", version_header="X-Version"), legacy=SideInstances(version="8.4")
)


def candidate(*headers: tuple[str, str]) -> Observation:
    return Observation(Side.CANDIDATE, Role.SERVED, Response(200, headers, b""), 1)


LEGACY = Observation(Side.LEGACY, Role.MIRRORED, Response(200, (), b""), 1)


@pytest.mark.parametrize(
    ("observation", "expected"),
    [
        (candidate(("x-version", "2.1")), ReleasePair("2.1", "8.4")),
        (candidate(), ReleasePair("2.0", "8.4")),
        (Observation(Side.CANDIDATE, Role.SERVED, Failed(FailureCause.TIMEOUT, ""), 1), ReleasePair("2.0", "8.4")),
        (candidate(("X-Version", "v" * 500)), ReleasePair("v" * LABEL_CHARS_MAX, "8.4")),
        (candidate(("X-Version", "2.1\x00\n")), ReleasePair("2.1", "8.4")),
    ],
)
def test_release_is_that_of_the_header_else_the_configured_one(observation: Observation, expected: ReleasePair) -> None:
    assert ReleaseReader.of(CONFIGURED).read(observation, LEGACY) == expected


def test_label_names_the_candidate_first_and_an_unknown_side() -> None:
    assert [pair.label for pair in (ReleasePair("2", "8"), ReleasePair("2"), ReleasePair("", "8"), ReleasePair())] == [
        "2 / 8",
        "2 / ?",
        "? / 8",
        "",
    ]


def test_header_that_is_new_in_each_response_makes_no_more_than_so_many_releases() -> None:
    reader = ReleaseReader.of(CONFIGURED)
    pairs = {reader.read(candidate(("X-Version", str(number))), LEGACY) for number in range(5 * RELEASES_MAX)}
    assert len(pairs) == RELEASES_MAX + 1
    assert TOO_MANY in pairs
