"""Names in one notation."""

import pytest

from proxy.initial_config.names import entity_of, singular, snake_case


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("customerId", "customer_id"),
        ("Customer-ID", "customer_id"),
        ("HTTPStatus2", "http_status_2"),
        ("x", "x"),
        ("", ""),
    ],
)
def test_snake_case(name: str, expected: str) -> None:
    assert snake_case(name) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("customers", "customer"), ("categories", "category"), ("addresses", "address"), ("boxes", "box"), ("status", "status"),
        ("analysis", "analysis"), ("address", "address"), ("news", "new"), ("gas", "gas"), ("series", "sery"), ("ties", "tie"),
    ],
)  # fmt: skip
def test_singular(name: str, expected: str) -> None:
    assert singular(name) == expected


@pytest.mark.parametrize(
    ("table", "entity"), [("shop.order_lines", "order_line"), ('"Odd".Users', "user"), ("customers", "customer")]
)
def test_entity(table: str, entity: str) -> None:
    assert entity_of(table) == entity
