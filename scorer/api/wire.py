"""The bodies that clients send, as schemas for `validation.body`."""

from enum import StrEnum

from pydantic_core import core_schema

from scorer.api.validation import body_schema, object_schema, optional, required

_ANYTHING = core_schema.any_schema()
_TEXT = core_schema.str_schema()
_TEXT_OR_NULL = core_schema.nullable_schema(_TEXT)
_INT = core_schema.int_schema()


class SaveState(StrEnum):
    """The states of a stamp in ComposeDB that a client may report."""

    PENDING = "pending"
    SAVED = "saved"
    FAILED = "failed"


# POST /internal/embed/stamps/{address}: stamps is a list of anything.
EMBED_STAMPS = body_schema(
    object_schema({"scorer_id": required(_INT), "stamps": required(core_schema.list_schema(_ANYTHING))})
)

# An address beside a provider is not used, but its type is checked.
_ADDRESS = optional(_TEXT_OR_NULL)

# POST and PATCH /ceramic-cache/stamps/bulk.
CERAMIC_STAMPS = body_schema(
    core_schema.list_schema(
        object_schema({"address": _ADDRESS, "provider": required(_TEXT), "stamp": optional(_ANYTHING)})
    )
)

# DELETE /ceramic-cache/stamps/bulk.
CERAMIC_DELETES = body_schema(
    core_schema.list_schema(object_schema({"address": _ADDRESS, "provider": required(_TEXT)}))
)

# POST /ceramic-cache/score/{address}.
CERAMIC_SCORE = body_schema(object_schema({"alternate_scorer_id": optional(core_schema.nullable_schema(_INT))}))

# POST /internal/check-bans: every field of a subject is required, and may be null.
BAN_CHECKS = body_schema(
    core_schema.list_schema(
        object_schema(
            {
                "credentialSubject": required(
                    object_schema(
                        {
                            "hash": required(_TEXT_OR_NULL),
                            "provider": required(_TEXT_OR_NULL),
                            "id": required(_TEXT_OR_NULL),
                        }
                    )
                )
            }
        )
    )
)

# POST /internal/check-revocations.
REVOCATION_CHECKS = body_schema(object_schema({"proof_values": required(core_schema.list_schema(_TEXT))}))

# PATCH /ceramic-cache/stamps/bulk/meta/compose-db.
SAVE_STATES = body_schema(
    core_schema.list_schema(
        object_schema(
            {
                "id": required(_INT),
                "compose_db_save_status": required(core_schema.enum_schema(SaveState, list(SaveState), sub_type="str")),
                "compose_db_stream_id": optional(_TEXT_OR_NULL),
            }
        )
    )
)

# POST /ceramic-cache/authenticate/v2.
SIGN_IN = body_schema(object_schema({"message": required(core_schema.dict_schema()), "signature": required(_TEXT)}))

# POST /ceramic-cache/tos/signed-message/{kind}/{address}.
SIGNED_TERMS = body_schema(
    object_schema({"tos_type": required(_TEXT), "nonce": required(_TEXT), "signature": required(_TEXT)})
)
