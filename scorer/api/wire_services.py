"""The bodies clients send to the endpoints around scoring, as schemas for `validation.body`."""

from enum import StrEnum

from pydantic_core import core_schema

from scorer.api.validation import body_schema, object_schema, optional, required


class SaveState(StrEnum):
    """What a client may report of a stamp in the other store."""

    PENDING = "pending"
    SAVED = "saved"
    FAILED = "failed"


_TEXT = core_schema.str_schema()
_TEXT_OR_NULL = core_schema.nullable_schema(_TEXT)
_INT = core_schema.int_schema()

# Every field of a subject has to be there, and may be null.
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

REVOCATION_CHECKS = body_schema(object_schema({"proof_values": required(core_schema.list_schema(_TEXT))}))

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

SIGN_IN = body_schema(object_schema({"message": required(core_schema.dict_schema()), "signature": required(_TEXT)}))

SIGNED_TERMS = body_schema(
    object_schema({"tos_type": required(_TEXT), "nonce": required(_TEXT), "signature": required(_TEXT)})
)
