"""The `replay:` section of config.yaml."""

from msgspec import Struct


class ReplaySettings(Struct, frozen=True, forbid_unknown_fields=True):
    """What a replay puts where a capture's credentials cannot be used.

    Attributes:
        credentials: `digest:<32 hex>`, as it stands in the journal, to the name of the environment variable with the value.
        jwt_key: name of the environment variable with the key that bearer tokens are signed again with; "" leaves tokens as
            they are. A token's lifetime is kept and begins anew.
        jwt_algorithm: of the new signature.
        jwt_lifetime_s: of a token that does not say how long it lived.
    """

    credentials: dict[str, str] = {}
    jwt_key: str = ""
    jwt_algorithm: str = "HS256"
    jwt_lifetime_s: int = 300
