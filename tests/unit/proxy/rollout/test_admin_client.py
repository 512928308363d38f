"""proxy.rollout.admin_client: what one proxy answers is known before another one has answered."""

from concurrent.futures import Future

from proxy.rollout.admin_client import AdminEndpoint, AdminResponse, Broadcast


def test_proxy_that_hangs_does_not_delay_the_response_of_another() -> None:
    hanging: Future[AdminResponse] = Future()
    answering: Future[AdminResponse] = Future()
    here, there = (AdminResponse(AdminEndpoint("127.0.0.1", port), 200) for port in (1, 2))
    broadcast = Broadcast([hanging, answering])
    answering.set_result(there)
    arriving = broadcast.arriving()
    assert next(arriving) is there
    hanging.set_result(here)
    assert [*arriving] == [here]
    # In the order of the endpoints, once all are there.
    assert broadcast.responses() == [here, there]
