"""The bodies clients send, as schemas for `validation.body`."""

from pydantic_core import core_schema

from scorer.api.validation import body_schema, object_schema, optional, required

_ANYTHING = core_schema.any_schema()
_TEXT = core_schema.str_schema()
_INT = core_schema.int_schema()

# POST /internal/embed/stamps: scorer_id is a number, stamps a list of anything.
EMBED_STAMPS = body_schema(
    object_schema({"scorer_id": required(_INT), "stamps": required(core_schema.list_schema(_ANYTHING))})
)

# POST and PATCH /ceramic-cache/stamps/bulk: a list of provider and stamp; an address beside them is ignored.
CERAMIC_STAMPS = body_schema(
    core_schema.list_schema(object_schema({"provider": required(_TEXT), "stamp": optional(_ANYTHING)}))
)

# DELETE /ceramic-cache/stamps/bulk: a list of provider.
CERAMIC_DELETES = body_schema(core_schema.list_schema(object_schema({"provider": required(_TEXT)})))

# POST /ceramic-cache/score: alternate_scorer_id is a number, null or missing.
CERAMIC_SCORE = body_schema(object_schema({"alternate_scorer_id": optional(core_schema.nullable_schema(_INT))}))
