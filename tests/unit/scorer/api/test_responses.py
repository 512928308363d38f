"""Causes as responses."""

import json

import pytest

from scorer import errors
from scorer.api import responses


def kinds(root: type[errors.ScorerError]) -> list[type[errors.ScorerError]]:
    return [root, *(deeper for kind in root.__subclasses__() for deeper in kinds(kind))]


def body(response) -> object:
    return json.loads(response.body)


@pytest.mark.parametrize("kind", kinds(errors.ScorerError))
def test_every_cause_has_a_status(kind):
    assert any(parent in responses.STATUS_OF_ERROR for parent in kind.__mro__[:2])


def test_json_has_python_s_separators_and_escapes():
    assert responses.json_response({"a": [1, "é"], "b": None}).body == b'{"a": [1, "\\u00e9"], "b": null}'


def test_every_response_has_the_fixed_headers():
    response = responses.json_response({})
    assert {name: response.headers[name] for name in responses.FIXED_HEADERS} == responses.FIXED_HEADERS
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"


def test_named_cause_is_its_text_in_detail():
    response = responses.error_response(errors.AddressInvalidError())
    assert (response.status, body(response)) == (400, {"detail": "Invalid address."})


def test_extra_fields_are_beside_the_detail():
    response = responses.error_response(errors.NotFoundError("None", address="0x1"))
    assert (response.status, body(response)) == (404, {"detail": "None", "address": "0x1"})


def test_validation_is_its_items():
    item = {"type": "missing", "loc": ["query", "a"], "msg": "Field required"}
    response = responses.error_response(errors.ValidationError([item]))
    assert (response.status, body(response)) == (422, {"detail": [item]})


def test_unanswerable_error_is_the_plain_page():
    response = responses.error_response(errors.UnanswerableError("secret reason"))
    assert (response.status, response.content_type, "secret" in (response.text or "")) == (500, "text/html", False)


@pytest.mark.parametrize(("status", "shown"), [(400, "text/html"), (413, "application/json")])
def test_body_over_the_cap_is_answered_as_configured(status, shown):
    response = responses.error_response(errors.BodyTooLargeError(), body_too_large_status=status)
    assert (response.status, response.content_type) == (status, shown)
