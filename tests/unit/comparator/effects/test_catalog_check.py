"""Descriptions of tables that contradict the catalogue are named, with the place in config.yaml and the nearest name."""

from typing import Any

import msgspec
import pytest

from comparator.effects.catalog_check import contradictions
from comparator.exchanges.table_schema import TableSchema
from comparator.tables import Table

SCHEMAS = {
    "permission": TableSchema(
        ("id",), {"id": "bigint", "principal": "text", "at": "timestamp with time zone", "doc": "jsonb"}
    ),
    "member": TableSchema(
        ("owner", "sku"), {"owner": "text", "sku": "text", "seen_ms": "bigint", "seen_s": "integer", "tier": "smallint"}
    ),
    "log": TableSchema((), {"line": "text"}),
}
CASES: list[tuple[dict[str, Any], str]] = [
    (
        {"permision": {"natural_key": ["principal"]}},
        "compare.tables.permision: table permision is not captured (did you mean permission?)",
    ),
    (
        {"permission": {"natural_key": ["principle"]}},
        "natural_key: table permission has no column principle (did you mean principal?)",
    ),
    (
        {"permission": {"natural_key": ["id"], "ignore_columns": ["nothing"]}},
        "ignore_columns: table permission has no column nothing",
    ),
    (
        {"permission": {"natural_key": ["id"], "volatile": {"att": {"ignore": True}}}},
        "volatile.att: table permission has no column att",
    ),
    (
        {"permission": {"natural_key": ["id"], "json": {"dok": {}}}},
        "json.dok: table permission has no column dok (did you mean doc?)",
    ),
    (
        {"permission": {"natural_key": ["id"], "json": {"at": {}}}},
        "json.at: the column is timestamp with time zone, which holds no JSON",
    ),
    (
        {"permission": {"natural_key": ["id"], "references": {"x": "permission"}}},
        "references.x: table permission has no column x",
    ),
    (
        {"permission": {"natural_key": ["id"], "keys": [{"kind": "address", "column": "princpal"}]}},
        "keys[0]: table permission has no column princpal",
    ),
    (
        {"permission": {"natural_key": ["id"], "keys": [{"kind": "address", "through": "principal"}]}},
        "keys[0].through: principal is not in compare.tables.permission.references",
    ),
    (
        {"member": {"natural_key": ["owner"], "volatile": {"seen_ms": {"within_ms": 5}}}},
        "volatile.seen_ms: the column is bigint: say whether it counts seconds (`epoch: s`) or milliseconds (`epoch: ms`)",
    ),
    (
        {"member": {"natural_key": ["owner"], "volatile": {"seen_s": {"within_ms": 5, "epoch": "ms"}}}},
        "volatile.seen_s: the column is integer, which cannot hold a time in milliseconds",
    ),
    (
        {"member": {"natural_key": ["owner"], "volatile": {"tier": {"within_ms": 5, "epoch": "s"}}}},
        "volatile.tier: within_ms compares times, and the column is smallint; use `ignore: true`",
    ),
    (
        {"permission": {"natural_key": ["id"], "volatile": {"at": {"within_ms": 5, "epoch": "s"}}}},
        "volatile.at: epoch is for numbers, and the column is timestamp with time zone; remove it",
    ),
    (
        {"permission": {"natural_key": ["id"], "volatile": {"doc": {"within_ms": 5}}}},
        "volatile.doc: within_ms compares times, and the column is jsonb; use `ignore: true`",
    ),
    (
        {"member": {"natural_key": ["owner"], "volatile": {"seen_ms": {"generated": "[0-9]+"}}}},
        "volatile.seen_ms: generated is a pattern of texts, and the column is bigint; use `ignore: true`",
    ),
    (
        {"permission": {"natural_key": ["id"], "references": {"principal": "member"}}},
        "references.principal: rows of member cannot be found by one id: its primary key is owner, sku",
    ),
    (
        {"permission": {"natural_key": ["id"], "json": {"doc": {"references": {"a": "member"}}}}},
        "json.doc.references.a: rows of member cannot be found by one id",
    ),
    ({"permission": {"natural_key": ["id"], "references": {"principal": "log"}}}, "its primary key is no column"),
]


def described(tables: dict[str, Any]) -> dict[str, Table]:
    return msgspec.convert(tables, dict[str, Table])


@pytest.mark.parametrize(("tables", "message"), CASES, ids=[message[:40] for _, message in CASES])
def test_contradiction_is_named(tables: dict[str, Any], message: str) -> None:
    (problem,) = contradictions(described(tables), SCHEMAS)
    assert message in problem


def test_true_description_has_no_contradiction() -> None:
    tables = {
        "permission": {
            "natural_key": ["principal"],
            "volatile": {"at": {"within_ms": 5}},
            "json": {"doc": {"ignore": ["a"]}},
        },
        "member": {
            "natural_key": ["owner", "sku"],
            "volatile": {"seen_ms": {"within_ms": 5, "epoch": "ms"}, "seen_s": {"within_ms": 5, "epoch": "s"}},
        },
        "log": {
            "natural_key": ["line"],
            "json": {"line": {"decode_text": True}},
            "volatile": {"line": {"generated": "[0-9]+"}},
        },
    }
    assert contradictions(described(tables), SCHEMAS) == []


def test_every_contradiction_is_named() -> None:
    tables = {"permission": {"natural_key": ["a", "b"]}, "gone": {"natural_key": ["c"]}}
    assert len(contradictions(described(tables), SCHEMAS)) == 3
