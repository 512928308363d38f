import pytest

from scorer.errors import ScorerSettingsError
from scorer.shared_store import SharedStore


@pytest.mark.parametrize(
    "url",
    [
        "localhost:6379",
        "http://localhost:6379",
        "redis:/localhost",
        "redis://localhost:port/0",
        "redis://localhost:99999",
    ],
)
def test_malformed_store_url_stops_the_start(url: str):
    with pytest.raises(ScorerSettingsError):
        SharedStore(url)


def test_password_is_not_shown():
    with pytest.raises(ScorerSettingsError) as caught:
        SharedStore("http://user:hunter2@localhost")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["redis://localhost", "rediss://localhost:6379/0", "valkey://localhost", "unix:///run/redis.sock"]
)
async def test_nothing_is_connected_before_it_is_needed(url: str):
    await SharedStore(url).close()
