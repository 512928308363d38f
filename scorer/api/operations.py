"""Summaries, query parameters and responses of the endpoints, for `openapi`: data only.

Keyed by method and path, with `{}` for each path parameter.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scorer.api import wire
from scorer.api.validation import BodySchema

Schema = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Operation:
    """One endpoint's description.

    Args:
        tag: the group of clients.
        response: schema of the response; None for a text or an empty body.
        query: OpenAPI parameter objects.
        integers: names of path parameters that are parsed as integers although the router accepts any text.
        failures: the meanings of statuses other than those of authentication and validation.
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
_LIMITED = {429: "The key's rate limit is exceeded."}
_SCORE_FAILURES = {**_ADDRESS_INVALID, 404: "No such scorer."}
_COMMUNITY = _query("community_id", _TEXT)

_LISTING = Operation(
    "List the stamps of an address, newest first, in pages",
    "v2",
    _ref("StampPage"),
    query=[
        _query("token", _TEXT),
        _query("limit", {"type": "integer", "minimum": 0, "maximum": 1000, "default": 1000}),
        _query("include_metadata", _BOOL),
    ],
    failures={400: "Not an Ethereum address, or a limit over 1000.", **_LIMITED},
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
        "Get the score of an address at a time",
        "v2",
        _ref("Score"),
        query=[_query("created_at", _TEXT, required=True)],
        integers=frozenset({"scorer_id"}),
        failures={
            400: "created_at is empty.",
            403: "The key has no permission to read the history.",
            404: "No score.",
            **_LIMITED,
        },
    ),
    ("GET", "/v2/stamps/{}"): _LISTING,
    # The target of the pages' links.
    ("GET", "/registry/stamps/{}"): _LISTING,
    ("GET", "/v2/stamps/metadata"): Operation(
        "List every platform with its stamps",
        "v2",
        _list(_ref("Platform")),
        failures={**_LIMITED, 500: "The metadata is unavailable."},
    ),
    ("GET", "/v2/models/score/{}"): Operation(
        "Get the score that a model gives to an address",
        "v2",
        _object(address=_TEXT, details=_object(models={"type": "object"})),
        query=[_query("model", _TEXT)],
        failures={400: "Not an address, or not exactly one known model.", **_LIMITED, 500: "A model service failed."},
    ),
}

_INTERNAL: dict[tuple[str, str], Operation] = {
    ("GET", "/internal/score/v2/{}/{}"): Operation(
        "Score an address for any community",
        "internal",
        _ref("Score"),
        query=[_query("include_human_points", _BOOL)],
        failures={**_SCORE_FAILURES, 500: "The address cannot be scored."},
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
        "Get the weights and stamp sections of a community",
        "embed",
        _ref("EmbedConfig"),
        query=[{**_COMMUNITY, "required": True}],
        failures={500: "No such community."},
    ),
    ("GET", "/internal/embed/weights"): Operation(
        "Get the weights of a community; use the config instead",
        "embed",
        _WEIGHTS,
        query=[_COMMUNITY],
        failures={500: "No such community."},
        deprecated=True,
    ),
    ("GET", "/internal/embed/validate-api-key"): Operation(
        "Validate an API key and get its embed rate limit", "embed", _object(embed_rate_limit=_nullable(_TEXT))
    ),
    ("POST", "/internal/check-bans"): Operation(
        "Check credentials against the ban list",
        "internal",
        _list(_ref("BanFinding")),
        body=wire.BAN_CHECKS,
        failures={400: "No credentials, or credentials of several subjects.", 500: "A credential without hash."},
    ),
    ("POST", "/internal/check-revocations"): Operation(
        "Check proof values for revocation",
        "internal",
        _list(_ref("Revocation")),
        body=wire.REVOCATION_CHECKS,
    ),
    ("GET", "/internal/stake/gtc/{}"): Operation(
        "List the stakes by or on an address", "internal", _ref("Stakes"), failures=_ADDRESS_INVALID
    ),
    ("GET", "/internal/stake/legacy-gtc/{}/{}"): Operation(
        "List the events of the older staking contract", "internal", _ref("StakeEvents"), failures=_ADDRESS_INVALID
    ),
    ("GET", "/registry/gtc-stake/{}/{}"): Operation(
        "List the events of the older staking contract",
        "internal",
        _ref("StakeEvents"),
        failures=_ADDRESS_INVALID,
        deprecated=True,
    ),
    ("GET", "/internal/cgrants/contributor_statistics"): Operation(
        "Get the contribution statistics of an address",
        "internal",
        _object(num_grants_contribute_to=_NUMBER, total_contribution_amount=_NUMBER),
        query=[_query("address", _TEXT, required=True)],
        failures=_ADDRESS_INVALID,
    ),
    ("GET", "/internal/allow-list/{}/{}"): Operation(
        "Check whether an address is on an allow list", "internal", _object(is_member=_BOOL)
    ),
    ("GET", "/account/customization/credential/{}"): Operation(
        "Get the definition of a custom credential",
        "embed",
        _object(ruleset={}),
        failures={404: "No such credential."},
    ),
    ("GET", "/internal/customization/credential/{}"): Operation(
        "Get the definition of a custom credential",
        "internal",
        _object(ruleset={}),
        failures={404: "No such credential."},
    ),
}

_PASSPORT_APP: dict[tuple[str, str], Operation] = {
    ("POST", "/ceramic-cache/stamps/bulk"): Operation(
        "Store stamps of the token's address and score it",
        "passport app",
        _ref("StampsWithScore"),
        status=201,
        body=wire.CERAMIC_STAMPS,
        failures={400: "The token's address is malformed.", 404: "The default community does not exist."},
    ),
    ("PATCH", "/ceramic-cache/stamps/bulk"): Operation(
        "Replace and delete stamps of the token's address and score it",
        "passport app",
        _ref("StampsWithScore"),
        body=wire.CERAMIC_STAMPS,
        failures={500: "The change failed."},
    ),
    ("DELETE", "/ceramic-cache/stamps/bulk"): Operation(
        "Delete stamps of the token's address and score it",
        "passport app",
        _ref("Stamps"),
        body=wire.CERAMIC_DELETES,
        failures={404: "None of the stamps exists."},
    ),
    ("PATCH", "/ceramic-cache/stamps/bulk/meta/compose-db"): Operation(
        "Report the ComposeDB state of stamps of the token's address",
        "passport app",
        _object(updated=_list(_INT)),
        body=wire.SAVE_STATES,
    ),
    ("GET", "/ceramic-cache/stamp"): Operation(
        "List the stamps of an address, scoring it if it has no score",
        "passport app",
        _ref("Stamps"),
        query=[_query("address", _TEXT, required=True)],
        failures=_ADDRESS_INVALID,
    ),
    ("GET", "/ceramic-cache/score/{}"): Operation(
        "Get the stored score of an address, scoring it if the score is missing or expired",
        "passport app",
        _ref("Score"),
        query=[_query("alternate_scorer_id", _INT)],
        failures=_SCORE_FAILURES,
    ),
    ("POST", "/ceramic-cache/score/{}"): Operation(
        "Score an address again",
        "passport app",
        _ref("Score"),
        body=wire.CERAMIC_SCORE,
        failures={**_SCORE_FAILURES, 500: "The body names no scorer."},
    ),
    ("GET", "/ceramic-cache/weights"): Operation(
        "Get the weights of the default community", "passport app", _WEIGHTS, failures={500: "No such community."}
    ),
    ("POST", "/ceramic-cache/authenticate/v2"): Operation(
        "Exchange a signed message for a token",
        "passport app",
        _object(access=_TEXT, intercom_user_hash={"type": "null"}),
        body=wire.SIGN_IN,
        failures={400: "A check failed; the text says which."},
    ),
    ("GET", "/account/nonce"): Operation(
        "Create a nonce for a message to sign",
        "passport app",
        _object(nonce={"type": "string", "pattern": "^[0-9a-f]{60}$"}),
    ),
    ("GET", "/ceramic-cache/stake/gtc"): Operation(
        "List the stakes by or on the token's address", "passport app", _ref("Stakes"), failures=_ADDRESS_INVALID
    ),
    ("GET", "/ceramic-cache/tos/accepted/{}/{}"): Operation(
        "Check whether the address has signed the terms", "passport app", _object(accepted=_BOOL)
    ),
    ("GET", "/ceramic-cache/tos/message-to-sign/{}/{}"): Operation(
        "Get the terms to sign", "passport app", _object(text=_TEXT, nonce=_TEXT)
    ),
    ("POST", "/ceramic-cache/tos/signed-message/{}/{}"): Operation(
        "Sign the terms",
        "passport app",
        body=wire.SIGNED_TERMS,
        failures={400: "The nonce is unknown, used or expired."},
    ),
}

_STATE: dict[tuple[str, str], Operation] = {
    ("GET", "/health/"): Operation("Check that the process answers", "state"),
    ("GET", "/health"): Operation("Check that the process answers", "state"),
    ("GET", "/health/live"): Operation("Check that the event loop runs", "state", _object(status=_TEXT)),
    ("GET", "/health/ready"): Operation(
        "Check the dependencies",
        "state",
        _object(status=_TEXT),
        failures={503: "A required dependency is unavailable."},
    ),
    ("GET", "/openapi.json"): Operation("Get this description", "state", _ANY_OBJECT),
}

OPERATIONS: Mapping[tuple[str, str], Operation] = {**_PUBLIC, **_INTERNAL, **_PASSPORT_APP, **_STATE}
