"""Stamp metadata and model services, asked over real HTTP."""

import asyncio
import json

import aiohttp
import pytest

from scorer.caches import MemoryCache
from scorer.domain.analysis import AGGREGATE_INPUTS, MODEL_NAMES
from scorer.errors import ServiceFailedError, UpstreamFailedError
from scorer.upstreams import JsonClient, ModelServices, StampMetadata
from scorer.upstreams import Upstream as Name
from scorer.workflows import metadata
from tests.support.scoring import address

PLATFORM = {
    "id": "Google",
    "icon": "./google.svg",
    "name": "Google",
    "description": "d",
    "connectMessage": "c",
    "groups": [{"name": "g", "stamps": [{"name": "Google", "description": "d", "hash": "0x1"}]}],
}


@pytest.fixture
async def asker(metrics):
    async with aiohttp.ClientSession() as session:
        yield JsonClient(session, metrics, Name.METADATA, timeout_s=0.5, max_bytes=4096)


@pytest.fixture
def stamps(asker, metrics, upstream):
    upstream.set_response("/stampMetadata.json", [PLATFORM])
    return StampMetadata(asker, MemoryCache(metrics), public_url=upstream.url)


async def test_requests_at_once_fetch_once(stamps, upstream):
    upstream.hold()
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(stamps.document(), name=f"d{n}") for n in range(20)]
        await asyncio.wait_for(upstream.request_received.wait(), 5)
        upstream.release()
    assert (len(upstream.requests), asked[19].result()[0]["icon"]) == (1, f"{upstream.url}google.svg")


async def test_cached_metadata_is_not_fetched_again(stamps, upstream):
    await stamps.document()
    await stamps.document()
    assert len(upstream.requests) == 1


async def test_fresh_look_fetches_and_renews(stamps, upstream):
    await stamps.document()
    upstream.set_response("/stampMetadata.json", [{**PLATFORM, "name": "Renamed"}])
    await stamps.fresh_platforms()
    assert (await stamps.document())[0]["name"] == "Renamed"


async def test_failure_is_not_kept(stamps, upstream):
    upstream.set_response("/stampMetadata.json", [], status=503)
    with pytest.raises(UpstreamFailedError):
        await stamps.document()
    upstream.set_response("/stampMetadata.json", [PLATFORM])
    assert (await stamps.document())[0]["id"] == "Google"


@pytest.mark.parametrize("raw", [b"{not json", b'{"a": 1}', b"[1]", b" " * 5000, b"\xff"])
async def test_unexpected_metadata_is_a_failure(stamps, upstream, raw: bytes):
    upstream.set_response("/stampMetadata.json", raw=raw)
    with pytest.raises(UpstreamFailedError):
        await stamps.document()


async def test_service_that_hangs_is_a_failure_in_time(stamps, upstream):
    upstream.hold()
    async with asyncio.timeout(60):
        with pytest.raises(UpstreamFailedError):
            await stamps.document()


async def test_error_of_the_listing_names_the_first_provider(stamps, upstream):
    upstream.set_response("/stampMetadata.json", status=500)
    with pytest.raises(ServiceFailedError, match="for provider Google"):
        await metadata.of_providers(stamps, ["Google", "Other"])


async def test_unknown_provider_has_no_metadata(stamps):
    found = await metadata.of_providers(stamps, ["Google", "Other"])
    assert (found["Google"] and found["Google"]["group"], found["Other"]) == ("g", None)


async def test_nothing_is_fetched_for_no_stamps(stamps, upstream):
    assert await metadata.of_providers(stamps, []) == {}
    assert upstream.requests == []


@pytest.fixture
def models(asker, upstream):
    for name in MODEL_NAMES:
        upstream.set_response(f"/{name}", {"data": {"human_probability": 7, "n_transactions": 3}})
    return ModelServices(asker, {name: f"{upstream.url}{name}" for name in MODEL_NAMES})


async def test_model_gets_the_checksum_spelling(models, upstream):
    assert await models.score("nft", "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed") == 7.0
    assert upstream.requests[0].body == {"address": "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"}


async def test_aggregate_is_called_last_with_all_results(models, upstream):
    await models.score("aggregate", address(1))
    last = upstream.requests[-1]
    assert (last.path, len(upstream.requests), len(last.body["data"])) == ("/aggregate", 7, 12)


async def test_models_are_called_concurrently(models, upstream):
    upstream.hold()
    async with asyncio.TaskGroup() as group:
        group.create_task(models.score("aggregate", address(1)), name="score")
        await upstream.wait_for_requests(len(AGGREGATE_INPUTS))
        upstream.release()
    assert len(upstream.requests) == len(AGGREGATE_INPUTS) + 1


async def test_failed_models_are_listed_with_their_status(models, upstream):
    upstream.set_response("/base", {}, status=404)
    upstream.set_response("/zksync", raw=b"no json")
    with pytest.raises(ServiceFailedError) as caught:
        await models.score("aggregate", address(1))
    listed = json.loads(str(caught.value).partition(": ")[2])
    assert {entry["model"]: entry["status"] for entry in listed} == dict.fromkeys(AGGREGATE_INPUTS, 200) | {
        "base": 404,
        "zksync": 500,
    }


@pytest.mark.parametrize("answer", [[], None, "text", 5])
async def test_answer_that_is_not_an_object_is_a_failed_model(models, upstream, answer):
    upstream.set_response("/nft", answer)
    with pytest.raises(ServiceFailedError, match=r"analysis: \[.*nft.*500"):
        await models.score("nft", address(1))


@pytest.mark.parametrize("answer", [{}, {"data": None}, {"data": []}])
@pytest.mark.parametrize("model", ["nft", "aggregate"])
async def test_answer_without_data_fails_without_a_list(models, upstream, model, answer):
    upstream.set_response("/nft" if model == "nft" else "/base", answer)
    with pytest.raises(ServiceFailedError, match=r"^Error retrieving Passport analysis$"):
        await models.score(model, address(1))
    assert "/aggregate" not in [request.path for request in upstream.requests]


@pytest.mark.parametrize(
    ("figure", "score"), [("55.5", 55.5), (" 7 ", 7.0), ("1e2", 100.0), (True, 1.0), (-1.25, -1.25), (0, 0.0)]
)
async def test_figures_of_other_types_count_as_numbers(models, upstream, figure, score):
    upstream.set_response("/nft", {"data": {"human_probability": figure}})
    assert await models.score("nft", address(1)) == score


@pytest.mark.parametrize("figure", ["much", None, [1], {}, "inf", "nan", ""])
async def test_figure_that_is_not_a_number_fails_without_a_list(models, upstream, figure):
    upstream.set_response("/nft", {"data": {"human_probability": figure}})
    with pytest.raises(ServiceFailedError, match=r"^Error retrieving Passport analysis$"):
        await models.score("nft", address(1))


@pytest.mark.parametrize(("raw", "status"), [(b"x", 500), (b"[]", 500), (b"", 500), (b"{}", 404)])
async def test_status_of_failure_is_listed_if_its_body_is_an_object(models, upstream, raw, status):
    upstream.set_response("/nft", raw=raw, status=404)
    with pytest.raises(ServiceFailedError, match=str(status)):
        await models.score("nft", address(1))


async def test_model_without_a_figure_says_nothing(models, upstream):
    upstream.set_response("/nft", {"data": {}})
    assert await models.score("nft", address(1)) == 0.0
