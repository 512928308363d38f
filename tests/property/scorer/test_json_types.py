"""Any JSON value at any place of a credential or a body is dropped, refused in a known way, or read; it is never an accident."""

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import ValidationError

from scorer.api import wire
from scorer.api.validation import BodySchema
from scorer.db.stamps import _examined
from scorer.domain.siwe import domain_allowed, parse_address, parse_message, still_valid
from scorer.domain.stamp import DropCause, Stamp, StoredStamp, examine
from scorer.domain.submission import SubmittedStamp, provider_of, submitted
from scorer.errors import UnanswerableError
from tests.support.stamps import ADDRESS, ISSUER, NOW, credential

ISSUED = "2024-01-01T00:00:00Z"
WHOLE = {
    **credential(),
    "issuanceDate": ISSUED,
    "proof": {"type": "EthereumEip712Signature2021", "proofValue": "0x12", "created": ISSUED},
    "@context": ["https://www.w3.org/2018/credentials/v1"],
}
MESSAGE = {
    "domain": "app.example.test",
    "address": "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "statement": "Sign in",
    "uri": "https://app.example.test/login",
    "version": "1",
    "chainId": 1,
    "nonce": "abcdefgh1",
    "issuedAt": ISSUED,
    "expirationTime": "2099-01-01T00:00:00Z",
    "notBefore": ISSUED,
    "requestId": "r",
    "resources": ["https://app.example.test"],
}

other_types = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
any_json = other_types | st.text(max_size=10)


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Generate the paths to every value in a document, the document itself included."""
    yield path
    children = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for step, child in children:
        yield from places(child, (*path, step))


def replaced(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Copy a document with another value at a path."""
    if not path:
        return value
    copy = deepcopy(document)
    holder = copy
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = value
    return copy


credentials = st.builds(replaced, st.just(WHOLE), st.sampled_from(list(places(WHOLE))), other_types)


# An object without its date is an error of the address, as in the legacy.
@given(credentials.filter(lambda value: not isinstance(value, dict) or "expirationDate" in value))
def test_part_of_another_type_drops_a_stored_stamp_or_is_not_read(value: Any):
    row = StoredStamp(1, "Github", _examined(json.dumps(value)), json.dumps(value))
    result = examine(row, address=ADDRESS, trusted_issuers=frozenset({ISSUER}), now=NOW)
    assert isinstance(result, Stamp | DropCause)


@given(credentials)
def test_part_of_another_type_is_stored_as_it_is_or_refused(value: Any):
    try:
        stamp = submitted(provider_of(value), value)
    except UnanswerableError:
        return
    assert isinstance(stamp, SubmittedStamp)
    assert (stamp.provider, stamp.proof_value) == (value["credentialSubject"]["provider"], value["proof"]["proofValue"])


SCHEMAS = {name: schema for name, schema in vars(wire).items() if isinstance(schema, BodySchema)}
BODIES: dict[str, Any] = {
    "EMBED_STAMPS": {"scorer_id": 1, "stamps": [WHOLE]},
    "CERAMIC_STAMPS": [{"address": "0x", "provider": "Github", "stamp": WHOLE}],
    "CERAMIC_DELETES": [{"address": "0x", "provider": "Github"}],
    "CERAMIC_SCORE": {"alternate_scorer_id": 1},
    "BAN_CHECKS": [{"credentialSubject": {"hash": "h", "provider": "p", "id": "i"}}],
    "REVOCATION_CHECKS": {"proof_values": ["0x12"]},
    "SAVE_STATES": [{"id": 1, "compose_db_save_status": "saved", "compose_db_stream_id": "s"}],
    "SIGN_IN": {"message": MESSAGE, "signature": "0x"},
    "SIGNED_TERMS": {"tos_type": "IST", "nonce": "n", "signature": "0x"},
}


def test_every_body_has_an_example():
    assert BODIES.keys() == SCHEMAS.keys()


@pytest.mark.parametrize("name", BODIES)
@given(data=st.data())
def test_body_is_read_or_refused_by_pydantic(name: str, data: st.DataObject):
    body = BODIES[name]
    changed = replaced(body, data.draw(st.sampled_from(list(places(body)))), data.draw(any_json))
    try:
        SCHEMAS[name].validator.validate_python({"payload": changed})
    except ValidationError as error:
        assert all(item["loc"][0] == "payload" for item in error.errors())


@given(st.builds(replaced, st.just(MESSAGE), st.sampled_from([(name,) for name in MESSAGE]), any_json))
def test_message_of_any_types_is_read_or_refused(fields: dict[str, Any]):
    try:
        parse_address(fields["address"])
        domain_allowed(fields["domain"], ["app.example.test"])
        still_valid(fields, now=NOW)
        parse_message(fields, address=MESSAGE["address"]).text()
    except (ValueError, TypeError):
        return
