import json
from dataclasses import dataclass
from typing import Any

import jsonschema_rs
import pytest
from pydantic_core import core_schema

from scorer.api import wire
from scorer.api.auth import Auth
from scorer.api.openapi import OPENAPI_ROUTE, document, json_schema, shape_of, template_of
from scorer.api.operations import OPERATIONS
from scorer.api.routes import ROUTES

DESCRIBED = (*ROUTES, OPENAPI_ROUTE)


@dataclass(frozen=True)
class AnyRoute:
    method: str
    path: str
    auth: Auth


def operation(method: str, path: str) -> dict[str, Any]:
    return document(DESCRIBED)["paths"][path][method]


def test_every_route_is_described():
    described = {(method.upper(), path) for path, item in document(DESCRIBED)["paths"].items() for method in item}
    assert described == {(route.method, template_of(route.path)) for route in DESCRIBED}


def test_every_description_has_its_route():
    assert set(OPERATIONS) == {(route.method, shape_of(route.path)) for route in DESCRIBED}


def test_route_without_description_is_an_error():
    with pytest.raises(KeyError):
        document([AnyRoute("GET", "/nowhere", Auth.NONE)])


def test_operation_ids_are_distinct():
    ids = [item["operationId"] for methods in document(DESCRIBED)["paths"].values() for item in methods.values()]
    assert len(ids) == len(set(ids))


def test_every_reference_leads_somewhere():
    text = json.dumps(document(DESCRIBED))
    names = {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}
    assert names <= set(document(DESCRIBED)["components"]["schemas"])


def test_digits_in_a_path_are_a_whole_number():
    parameters = operation("get", "/internal/stake/legacy-gtc/{address}/{round_id}")["parameters"]
    assert [parameter["schema"]["type"] for parameter in parameters] == ["string", "integer"]


def test_authentication_follows_the_route():
    assert operation("post", "/internal/check-bans")["security"] == [{"internalToken": []}]


def test_open_route_names_no_authentication():
    assert "security" not in operation("get", "/internal/embed/config")


def test_body_is_described_as_it_is_read():
    schema = operation("patch", "/ceramic-cache/stamps/bulk/meta/compose-db")["requestBody"]["content"]
    item = schema["application/json"]["schema"]["items"]
    assert item["properties"]["compose_db_save_status"] == {"enum": ["pending", "saved", "failed"]}


@pytest.mark.parametrize(
    "body",
    [
        [{"credentialSubject": {"hash": "h", "provider": None, "id": "x"}}],
        [],
    ],
)
def test_described_body_is_accepted(body: list):
    schema = json_schema(wire.BAN_CHECKS.payload)
    assert jsonschema_rs.is_valid(schema, body)
    assert wire.BAN_CHECKS.validator.validate_python({"payload": body}) == {"payload": body}


def test_missing_field_is_not_allowed():
    assert not jsonschema_rs.is_valid(json_schema(wire.BAN_CHECKS.payload), [{"credentialSubject": {}}])


def test_unknown_kind_of_schema_is_an_error():
    with pytest.raises(ValueError, match="bytes"):
        json_schema(core_schema.bytes_schema())
