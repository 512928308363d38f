"""The client of these tests and of the golden runner reads whatever a server may answer."""

from comparator.exchanges.model import Response
from tests.integration.scorer_faults.world import World, status


async def test_response_to_head_has_no_body(world: World):
    response = await world.ask("HEAD", "/v2/stamps/metadata")
    assert isinstance(response, Response)
    assert (response.status, response.body) == (405, b"")


async def test_unknown_path_is_the_legacys_page(world: World):
    assert status(await world.ask("GET", "/v2/stamps/metadata/")) == 404
