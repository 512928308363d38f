"""Recorded paths: the segments that are parameters, and the fields that requests carry."""

import pytest

from comparator.exchanges.model import Request, Response
from proxy.initial_config.observed_traffic import observed_operations, templates_of
from proxy.recordings.model import RecordedExchange
from proxy.serving.unrouted_paths import is_id

PEOPLE = ("ann", "bob", "cyd", "dan", "eve")


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["/orders/17", "/orders/18"], {"/orders/{order}"}),
        (["/orders/search", "/orders/export"], {"/orders/search", "/orders/export"}),
        ([f"/customers/{name}" for name in PEOPLE], {"/customers/{customer}"}),
        ([f"/customers/{name}" for name in PEOPLE[:4]], {f"/customers/{name}" for name in PEOPLE[:4]}),
        ([f"/customers/{name}/orders" for name in PEOPLE[:3]], {"/customers/{customer}/orders"}),
        (["/admin/users/list", "/admin/groups/list"], {"/admin/users/list", "/admin/groups/list"}),
        ([f"/{name}" for name in PEOPLE], {f"/{name}" for name in PEOPLE}),
        ([f"/api/v1/{name}" for name in PEOPLE], {f"/api/v1/{name}" for name in PEOPLE}),
        (["/v2/users/7/posts/9"], {"/v2/users/{user}/posts/{post}"}),
        (["/a/7/8"], {"/a/{a}/{id}"}),
        (["/7/8/9"], {"/{id}/{id_2}/{id_2_2}"}),
        (["/files/"], {"/files/"}),
        (["/", "/health"], {"/", "/health"}),
        (["/x/0xab12", "/y/2d3c05db-6c3a-c1b3-0000-000000000383"], {"/x/{x}", "/y/{y}"}),
        (["/categories/5"], {"/categories/{category}"}),
        (["/odd/{brace}"], {"/odd/%7Bbrace%7D"}),
        ([], set()),
    ],
)
def test_templates(paths: list[str], expected: set[str]) -> None:
    assert set(templates_of(paths).values()) == expected


def test_templates_of_a_document_take_precedence() -> None:
    known = ["/customers/{customerId}", "/customers/me"]
    assert templates_of(["/customers/x", "/other/3"], known) == {
        "/customers/x": "/customers/{customerId}",
        "/other/3": "/other/{other}",
    }


@pytest.mark.parametrize("text", ["oauth2", "v2", "health", "s3", "me", "check-bans"])
def test_words_are_no_ids(text: str) -> None:
    assert not is_id(text)


@pytest.mark.parametrize(
    "text", ["0", "17", "0xAb", "deadbeefcafe", "ann%40example.org", "2026-11-30", "sk_live_4eC39HqLyjWD"]
)
def test_ids(text: str) -> None:
    assert is_id(text)


def recorded(
    method: str, target: str, body: bytes = b"", *, status: int = 200, response: bytes = b""
) -> RecordedExchange:
    headers = (
        ("Authorization", "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJ1LTciLCJleHAiOjF9.x"),
        ("X-Tenant-Id", "t-1"),
        ("X-Forwarded-For", "::1"),
    )
    return RecordedExchange(Request(method, target, headers, body), Response(status, (), response))


def test_names_of_what_requests_carry() -> None:
    create = recorded(
        "post", "/orders?dry=1", b'{"customer": {"id": 7}, "items": [{"sku": "a"}]}', response=b'{"createdAt": 1}'
    )
    (one,) = observed_operations([create, create])
    assert (one.method, one.template, one.seen) == ("POST", "/orders", 2)
    assert one.query == {"dry"}
    assert one.members == {"customer", "customer.id", "items", "items.sku"}
    assert one.claims == {"sub"}
    assert one.headers == {"x-tenant-id"}
    assert one.response_members == {"createdAt"}


@pytest.mark.parametrize("status", [404, 405])
def test_requests_that_the_api_does_not_have_are_left_out(status: int) -> None:
    assert observed_operations([recorded("GET", "/wp-admin", status=status)]) == ()


@pytest.mark.parametrize("body", [b"{", b"[" * 100_000, b"\xff", b'{"a": ' * 2000, b"x=1"])
def test_bodies_that_are_no_json_have_no_members(body: bytes) -> None:
    (one,) = observed_operations([recorded("POST", "/a", body)])
    assert one.members == frozenset()
