"""What each endpoint means, takes in its query and answers, for `openapi`: data only.

Keyed by method and path, with `{}` for each parameter of the path.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scorer.api import wire, wire_services
from scorer.api.validation import BodySchema

Schema = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Operation:
    """One endpoint's description.

    Args:
        tag: whom it is for.
        response: schema of the response; None for a text or nothing.
        query: OpenAPI parameter objects.
        integers: names of path parameters that are read as whole numbers though the router takes any text.
        failures: what statuses other than those of authentication and validation mean.
    """

    summary: str
    tag: str
    response: Schema | None = None
    status: int = 200
    query: Sequence[Schema] = ()
    body: BodySchema | None = None
    integers: frozenset[str] = frozenset()
    failures: Mapping[int, str] = field(default_factory=dict[int, str])
    deprecated: bool = False


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _nullable(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _query(name: str, schema: Schema, *, required: bool = False) -> Schema:
    return {"name": name, "in": "query", "required": required, "schema": schema}


_TEXT: Schema = {"type": "string"}
_INT: Schema = {"type": "integer"}
_BOOL: Schema = {"type": "boolean"}
_NUMBER: Schema = {"type": "number"}
_ANY_OBJECT: Schema = {"type": "object"}
_WEIGHTS: Schema = {"type": "object", "additionalProperties": _NUMBER}
_DECIMAL: Schema = {"type": "string", "pattern": r"^-?\d+\.\d+$"}

COMPONENTS: Mapping[str, Schema] = {
    "Error": _object(detail=_TEXT),
    "ValidationFailure": _object(
        detail=_list(_object(type=_TEXT, loc=_list({"type": ["string", "integer"]}), msg=_TEXT))
    ),
    "StampScore": _object(score=_DECIMAL, dedup=_BOOL, expiration_date=_nullable(_TEXT)),
    "Points": _object(
        total_points=_INT,
        is_eligible=_BOOL,
        multiplier=_INT,
        breakdown={"type": "object", "additionalProperties": _INT},
    ),
    "Score": _object(
        address=_TEXT,
        score=_nullable(_TEXT),
        passing_score=_BOOL,
        last_score_timestamp=_nullable(_TEXT),
        expiration_timestamp=_nullable(_TEXT),
        threshold=_TEXT,
        error=_nullable(_TEXT),
        stamps=_nullable({"type": "object", "additionalProperties": _ref("StampScore")}),
        points_data=_nullable(_ref("Points")),
        possible_points_data=_nullable(_ref("Points")),
        linked_score=_nullable(_ANY_OBJECT),
    ),
    "StoredStamp": _object(id=_INT, address=_nullable(_TEXT), provider=_TEXT, stamp={}),
    "Stamps": _object(success=_BOOL, stamps=_list(_ref("StoredStamp"))),
    "StampsWithScore": _object(success=_BOOL, stamps=_list(_ref("StoredStamp")), score=_ref("Score")),
    "StampPage": _object(
        next=_nullable(_TEXT), prev=_nullable(_TEXT), items=_list(_object(version=_TEXT, credential={}))
    ),
    "Platform": _object(
        id=_TEXT,
        icon=_TEXT,
        name=_TEXT,
        description=_TEXT,
        connectMessage=_TEXT,
        groups=_list(_object(name=_TEXT, stamps=_list(_object(name=_TEXT, description=_TEXT, hash=_TEXT)))),
    ),
    "Stake": _object(
        chain=_INT,
        staker=_TEXT,
        stakee=_TEXT,
        amount=_DECIMAL,
        unlock_time=_TEXT,
        lock_time=_TEXT,
        last_updated_in_block=_INT,
    ),
    "Stakes": _object(items=_list(_ref("Stake"))),
    "StakeEvent": _object(
        id=_INT,
        event_type=_TEXT,
        round_id=_INT,
        staker=_TEXT,
        address=_nullable(_TEXT),
        amount=_DECIMAL,
        staked=_BOOL,
        block_number=_INT,
        tx_hash=_TEXT,
    ),
    "StakeEvents": _object(results=_list(_ref("StakeEvent"))),
    "EmbedConfig": _object(
        weights=_WEIGHTS,
        stamp_sections=_list(_object(title=_TEXT, order=_INT, items=_list(_object(platform_id=_TEXT, order=_INT)))),
    ),
    "BanFinding": _object(
        hash=_TEXT, is_banned=_BOOL, end_time=_nullable(_TEXT), ban_type=_nullable(_TEXT), reason=_nullable(_TEXT)
    ),
    "Revocation": _object(proof_value=_TEXT, is_revoked=_BOOL),
}

_ADDRESS_INVALID = {400: "Not an Ethereum address."}
_LIMITED = {429: "The key's window is used up."}
_SCORE_FAILURES = {**_ADDRESS_INVALID, 404: "No such scorer."}
_COMMUNITY = _query("community_id", _TEXT)

_LISTING = Operation(
    "The stamps of an address, newest first, by pages",
    "v2",
    _ref("StampPage"),
    query=[
        _query("token", _TEXT),
        _query("limit", {"type": "integer", "minimum": 0, "maximum": 1000, "default": 1000}),
        _query("include_metadata", _BOOL),
    ],
    failures={400: "Not an Ethereum address, or more than 1000 asked for.", **_LIMITED},
)

_PUBLIC: dict[tuple[str, str], Operation] = {
    ("GET", "/v2/stamps/{}/score/{}"): Operation(
        "Score an address and store the score",
        "v2",
        _ref("Score"),
        query=[_query("include_human_points", _BOOL)],
        integers=frozenset({"scorer_id"}),
        failures={**_SCORE_FAILURES, **_LIMITED},
    ),
    ("GET", "/v2/stamps/{}/score/{}/history"): Operation(
        "The score that an address had at a time",
        "v2",
        _ref("Score"),
        query=[_query("created_at", _TEXT, required=True)],
        integers=frozenset({"scorer_id"}),
        failures={400: "created_at is empty.", 403: "The key may not read history.", 404: "No score.", **_LIMITED},
    ),
    ("GET", "/v2/stamps/{}"): _LISTING,
    # Where the pages point to.
    ("GET", "/registry/stamps/{}"): _LISTING,
    ("GET", "/v2/stamps/metadata"): Operation(
        "Every platform with its stamps",
        "v2",
        _list(_ref("Platform")),
        failures={**_LIMITED, 500: "The metadata cannot be had."},
    ),
    ("GET", "/v2/models/score/{}"): Operation(
        "What a model says of an address",
        "v2",
        _object(address=_TEXT, details=_object(models={"type": "object"})),
        query=[_query("model", _TEXT)],
        failures={400: "Not an address, or not one known model.", **_LIMITED, 500: "A model did not answer."},
    ),
}

_INTERNAL: dict[tuple[str, str], Operation] = {
    ("GET", "/internal/score/v2/{}/{}"): Operation(
        "Score an address for any community",
        "internal",
        _ref("Score"),
        query=[_query("include_human_points", _BOOL)],
        failures={**_SCORE_FAILURES, 500: "It cannot be scored."},
    ),
    ("POST", "/internal/embed/stamps/{}"): Operation(
        "Store stamps and score",
        "embed",
        _ref("StampsWithScore"),
        body=wire.EMBED_STAMPS,
        failures=_ADDRESS_INVALID,
    ),
    ("GET", "/internal/embed/score/{}/{}"): Operation(
        "Score an address", "embed", _ref("StampsWithScore"), failures={400: "Not an address, or no such scorer."}
    ),
    ("GET", "/internal/embed/config"): Operation(
        "Weights and stamp sections of a community",
        "embed",
        _ref("EmbedConfig"),
        query=[{**_COMMUNITY, "required": True}],
        failures={500: "No such community."},
    ),
    ("GET", "/internal/embed/weights"): Operation(
        "Weights of a community; use the config instead",
        "embed",
        _WEIGHTS,
        query=[_COMMUNITY],
        failures={500: "No such community."},
        deprecated=True,
    ),
    ("GET", "/internal/embed/validate-api-key"): Operation(
        "Is this a key, and what is its rate limit", "embed", _object(embed_rate_limit=_nullable(_TEXT))
    ),
    ("POST", "/internal/check-bans"): Operation(
        "Which credentials are banned",
        "internal",
        _list(_ref("BanFinding")),
        body=wire_services.BAN_CHECKS,
        failures={400: "No credentials, or of several subjects.", 500: "A credential without hash."},
    ),
    ("POST", "/internal/check-revocations"): Operation(
        "Which proof values are revoked",
        "internal",
        _list(_ref("Revocation")),
        body=wire_services.REVOCATION_CHECKS,
    ),
    ("GET", "/internal/stake/gtc/{}"): Operation(
        "Stakes by or on an address", "internal", _ref("Stakes"), failures=_ADDRESS_INVALID
    ),
    ("GET", "/internal/stake/legacy-gtc/{}/{}"): Operation(
        "Events of the older staking contract", "internal", _ref("StakeEvents"), failures=_ADDRESS_INVALID
    ),
    ("GET", "/registry/gtc-stake/{}/{}"): Operation(
        "Events of the older staking contract",
        "internal",
        _ref("StakeEvents"),
        failures=_ADDRESS_INVALID,
        deprecated=True,
    ),
    ("GET", "/internal/cgrants/contributor_statistics"): Operation(
        "What an address has contributed",
        "internal",
        _object(num_grants_contribute_to=_NUMBER, total_contribution_amount=_NUMBER),
        query=[_query("address", _TEXT, required=True)],
        failures=_ADDRESS_INVALID,
    ),
    ("GET", "/internal/allow-list/{}/{}"): Operation(
        "Is the address on the list", "internal", _object(is_member=_BOOL)
    ),
    ("GET", "/internal/customization/credential/{}"): Operation(
        "The rules of a custom credential", "internal", _object(ruleset={}), failures={404: "No such credential."}
    ),
}

_PASSPORT_APP: dict[tuple[str, str], Operation] = {
    ("POST", "/ceramic-cache/stamps/bulk"): Operation(
        "Store own stamps and score",
        "passport app",
        _ref("StampsWithScore"),
        status=201,
        body=wire.CERAMIC_STAMPS,
        failures={400: "The token's address is none.", 404: "The default community does not exist."},
    ),
    ("PATCH", "/ceramic-cache/stamps/bulk"): Operation(
        "Replace and delete own stamps and score",
        "passport app",
        _ref("StampsWithScore"),
        body=wire.CERAMIC_STAMPS,
        failures={500: "It did not work."},
    ),
    ("DELETE", "/ceramic-cache/stamps/bulk"): Operation(
        "Delete own stamps",
        "passport app",
        _ref("Stamps"),
        body=wire.CERAMIC_DELETES,
        failures={404: "None of them is there."},
    ),
    ("PATCH", "/ceramic-cache/stamps/bulk/meta/compose-db"): Operation(
        "Report how own stamps fared in the other store",
        "passport app",
        _object(updated=_list(_INT)),
        body=wire_services.SAVE_STATES,
    ),
    ("GET", "/ceramic-cache/stamp"): Operation(
        "The stamps of an address",
        "passport app",
        _ref("Stamps"),
        query=[_query("address", _TEXT, required=True)],
        failures=_ADDRESS_INVALID,
    ),
    ("GET", "/ceramic-cache/score/{}"): Operation(
        "The stored score of an address, made anew when it expired",
        "passport app",
        _ref("Score"),
        query=[_query("alternate_scorer_id", _INT)],
        failures=_SCORE_FAILURES,
    ),
    ("POST", "/ceramic-cache/score/{}"): Operation(
        "Score an address anew",
        "passport app",
        _ref("Score"),
        body=wire.CERAMIC_SCORE,
        failures={**_SCORE_FAILURES, 500: "No scorer named."},
    ),
    ("GET", "/ceramic-cache/weights"): Operation(
        "Weights of the default community", "passport app", _WEIGHTS, failures={500: "No such community."}
    ),
    ("POST", "/ceramic-cache/authenticate/v2"): Operation(
        "A token for a signed message",
        "passport app",
        _object(access=_TEXT, intercom_user_hash={"type": "null"}),
        body=wire_services.SIGN_IN,
        failures={400: "A check failed; the text says which."},
    ),
    ("GET", "/account/nonce"): Operation(
        "A nonce for a message to sign", "passport app", _object(nonce={"type": "string", "pattern": "^[0-9a-f]{60}$"})
    ),
    ("GET", "/ceramic-cache/stake/gtc"): Operation(
        "Stakes by or on the own address", "passport app", _ref("Stakes"), failures=_ADDRESS_INVALID
    ),
    ("GET", "/ceramic-cache/tos/accepted/{}/{}"): Operation(
        "Has the address signed the terms", "passport app", _object(accepted=_BOOL)
    ),
    ("GET", "/ceramic-cache/tos/message-to-sign/{}/{}"): Operation(
        "The terms to sign", "passport app", _object(text=_TEXT, nonce=_TEXT)
    ),
    ("POST", "/ceramic-cache/tos/signed-message/{}/{}"): Operation(
        "Sign the terms",
        "passport app",
        body=wire_services.SIGNED_TERMS,
        failures={400: "The nonce is unknown, used or expired."},
    ),
}

_STATE: dict[tuple[str, str], Operation] = {
    ("GET", "/health/"): Operation("Is the process there", "state"),
    ("GET", "/health"): Operation("Is the process there", "state"),
    ("GET", "/health/live"): Operation("Does the process run", "state", _object(status=_TEXT)),
    ("GET", "/health/ready"): Operation(
        "Can the process serve", "state", _object(status=_TEXT), failures={503: "Something it needs is away."}
    ),
    ("GET", "/openapi.json"): Operation("This description", "state", _ANY_OBJECT),
}

OPERATIONS: Mapping[tuple[str, str], Operation] = {**_PUBLIC, **_INTERNAL, **_PASSPORT_APP, **_STATE}
