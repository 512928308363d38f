"""The client of these tests and of the golden runner reads whatever a server may answer."""

from comparator.exchanges.model import Reply
from tests.integration.scorer_faults.world import World, status


async def test_a_reply_to_head_has_no_body(world: World):
    reply = await world.ask("HEAD", "/v2/stamps/metadata")
    assert isinstance(reply, Reply)
    assert (reply.status, reply.body) == (405, b"")


async def test_an_unknown_path_is_the_legacys_page(world: World):
    assert status(await world.ask("GET", "/v2/stamps/metadata/")) == 404
