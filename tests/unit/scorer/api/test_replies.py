"""Causes as replies."""

import json

import pytest

from scorer import errors
from scorer.api import replies


def kinds(root: type[errors.ScorerError]) -> list[type[errors.ScorerError]]:
    return [root, *(deeper for kind in root.__subclasses__() for deeper in kinds(kind))]


def body(reply) -> object:
    return json.loads(reply.body)


@pytest.mark.parametrize("kind", kinds(errors.ScorerError))
def test_every_cause_has_a_status(kind):
    assert any(parent in replies.STATUS_OF_ERROR for parent in kind.__mro__[:2])


def test_json_has_python_s_separators_and_escapes():
    assert replies.json_reply({"a": [1, "é"], "b": None}).body == b'{"a": [1, "\\u00e9"], "b": null}'


def test_every_reply_has_the_fixed_headers():
    reply = replies.json_reply({})
    assert {name: reply.headers[name] for name in replies.FIXED_HEADERS} == replies.FIXED_HEADERS
    assert reply.headers["Content-Type"] == "application/json; charset=utf-8"


def test_a_named_cause_is_its_text_in_detail():
    reply = replies.error_reply(errors.AddressInvalidError())
    assert (reply.status, body(reply)) == (400, {"detail": "Invalid address."})


def test_what_else_is_known_stands_beside_the_detail():
    reply = replies.error_reply(errors.NotFoundError("None", address="0x1"))
    assert (reply.status, body(reply)) == (404, {"detail": "None", "address": "0x1"})


def test_a_validation_is_its_items():
    item = {"type": "missing", "loc": ["query", "a"], "msg": "Field required"}
    reply = replies.error_reply(errors.ValidationError([item]))
    assert (reply.status, body(reply)) == (422, {"detail": [item]})


def test_what_has_no_answer_is_the_plain_page():
    reply = replies.error_reply(errors.UnanswerableError("secret reason"))
    assert (reply.status, reply.content_type, "secret" in (reply.text or "")) == (500, "text/html", False)


@pytest.mark.parametrize(("status", "shown"), [(400, "text/html"), (413, "application/json")])
def test_a_body_over_the_cap_is_answered_as_configured(status, shown):
    reply = replies.error_reply(errors.BodyTooLargeError(), body_too_large_status=status)
    assert (reply.status, reply.content_type) == (status, shown)
