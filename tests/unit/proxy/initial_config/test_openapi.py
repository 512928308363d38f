"""Operations of OpenAPI documents, written and generated."""

import json

import pytest

from proxy.errors import SettingsError
from proxy.initial_config.openapi import operations_of

VERSION_3 = """
openapi: 3.1.0
servers: [{url: "https://api.example/v1"}]
security: [{token: []}]
components:
  securitySchemes: {token: {type: http, scheme: bearer}, key: {type: apiKey, in: header, name: X-Api-Key}}
  parameters: {tenant: {in: header, name: X-Tenant, schema: {type: string}}}
  schemas:
    Order: {properties: {id: {type: integer}, customer: {$ref: "#/components/schemas/Customer"}, parent: {$ref: "#/components/schemas/Order"}}}
    Customer: {allOf: [{properties: {email: {type: string}}}]}
paths:
  /orders/{order-id}:
    parameters: [{$ref: "#/components/parameters/tenant"}]
    get:
      parameters: [{in: query, name: expand}]
      security: []
      responses: {"200": {content: {application/json: {schema: {type: array, items: {$ref: "#/components/schemas/Order"}}}}}}
    delete: {responses: {"204": {description: gone}}}
  /orders:
    post:
      requestBody: {content: {application/json: {schema: {properties: {customer_id: {}}}}}}
"""
VERSION_2 = {
    "swagger": "2.0",
    "basePath": "/api/",
    "paths": {
        "/pets": {
            "post": {
                "parameters": [
                    {
                        "in": "body",
                        "name": "pet",
                        "schema": {"properties": {"name": {}, "owner": {"properties": {"id": {}}}}},
                    }
                ],
                "responses": {"201": {"schema": {"properties": {"id": {}, "created_at": {}}}}},
            }
        }
    },
}


def test_version_3() -> None:
    get, delete, post = operations_of(VERSION_3)
    assert (get.method, get.template) == ("GET", "/v1/orders/{order_id}")
    assert (get.query, get.headers, get.claims) == ({"expand"}, {"x-tenant"}, frozenset())
    assert {"id", "customer", "email"} <= get.response_members
    assert (delete.method, delete.claims) == ("DELETE", {"sub"})
    assert (post.template, post.members) == ("/v1/orders", {"customer_id"})


def test_version_2() -> None:
    (post,) = operations_of(json.dumps(VERSION_2))
    assert (post.method, post.template) == ("POST", "/api/pets")
    assert post.members == {"name", "owner", "owner.id"}
    assert post.response_members == {"id", "created_at"}


@pytest.mark.parametrize(
    "text",
    ["", "[]", "paths: {}", "openapi: 3.0.0", "{", "x" * 10 + ": [", "a: &a [*a]", '{"openapi": "3.0.0"}'],
)
def test_other_documents_are_refused(text: str) -> None:
    with pytest.raises(SettingsError):
        operations_of(text)


@pytest.mark.parametrize(
    "node",
    ['{"$ref": "#/paths"}', '{"$ref": "#/nowhere"}', '{"$ref": "other.yaml#/x"}', "7", "[]", "null", '{"get": 3}'],
)
def test_nodes_of_another_kind_are_passed_over(node: str) -> None:
    assert operations_of(f'{{"openapi": "3.0.0", "paths": {{"/a": {node}}}}}') == ()
