"""The mix of people and requests of synthetic traffic, declared as data.

A profile is a YAML file with the fields of `Profile`; `profiles/` contains the built-in ones. Pure except for `load`, which reads them.
"""

from enum import StrEnum
from pathlib import Path

import msgspec
from msgspec import Struct

from scorer.errors import ScorerSettingsError
from scorer.population.people import PersonCase

PROFILE_MAX_BYTES = 1024**2
FOLDER = Path(__file__).parent / "profiles"


class RequestKind(StrEnum):
    """The kinds of requests. Those that begin with `embed_` or `ceramic_` submit stamps; the name says what is wrong with them."""

    SCORE = "score"
    REPEAT = "repeat"
    OLD_KEY = "old_key"
    MIXED_CASE = "mixed_case"
    BAD_ADDRESS = "bad_address"
    UNKNOWN_SCORER = "unknown_scorer"
    FOREIGN_SCORER = "foreign_scorer"
    SCORER_NO_NUMBER = "scorer_no_number"
    WRONG_KEY = "wrong_key"
    REVOKED_KEY = "revoked_key"
    NO_KEY = "no_key"
    STRANGER = "stranger"
    EMBED_SCORE = "embed_score"
    EMBED_ADD = "embed_add"
    EMBED_NO_TOKEN = "embed_no_token"  # noqa: S105 (the name of a kind)
    EMBED_BAD_ADDRESS = "embed_bad_address"
    EMBED_TWICE = "embed_twice"
    EMBED_NO_PROOF = "embed_no_proof"
    CERAMIC_SCORE = "ceramic_score"
    CERAMIC_ADD = "ceramic_add"
    CERAMIC_REPLACE = "ceramic_replace"
    CERAMIC_DELETE = "ceramic_delete"
    CERAMIC_NO_TOKEN = "ceramic_no_token"  # noqa: S105 (the name of a kind)
    CERAMIC_LATE_TOKEN = "ceramic_late_token"  # noqa: S105 (the name of a kind)
    CERAMIC_FORGED_TOKEN = "ceramic_forged_token"  # noqa: S105 (the name of a kind)
    CERAMIC_MALFORMED = "ceramic_malformed"


class Profile(Struct, frozen=True, forbid_unknown_fields=True):
    """One mix of people and requests.

    Attributes:
        about: a description in one sentence.
        people: how many people of each case, in proportion.
        requests: how many requests of each kind, in proportion.
        regulars: the share of the people who are requested frequently, and the share of the score requests that concern them; the
            other requests go through the people in turn.
    """

    about: str
    people: dict[PersonCase, int]
    requests: dict[RequestKind, int]
    regulars: tuple[float, float] = (0.0, 0.0)


def load(name: str) -> Profile:
    """Load a profile by its name in `profiles/`, or by the path of its file.

    Raises:
        ScorerSettingsError: the profile does not exist or is invalid; the message names the field.
    """
    path = FOLDER / f"{name}.yaml" if name in names() else Path(name)
    try:
        with path.open("rb") as file:
            data = file.read(PROFILE_MAX_BYTES + 1)
        if len(data) > PROFILE_MAX_BYTES:
            raise ScorerSettingsError(f"profile {name}: larger than {PROFILE_MAX_BYTES} bytes")
        return parse(data)
    except OSError as error:
        raise ScorerSettingsError(f"profile {name}: neither one of {', '.join(names())} nor a readable file") from error
    except msgspec.MsgspecError as error:
        raise ScorerSettingsError(f"profile {name}: {error}") from error


def names() -> list[str]:
    """List the names of the built-in profiles."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def parse(text: bytes) -> Profile:
    """Parse a profile.

    Raises:
        msgspec.MsgspecError: the profile is invalid.
    """
    profile = msgspec.yaml.decode(text, type=Profile)
    shares = [*profile.people.values(), *profile.requests.values()]
    if not profile.people or not profile.requests or min(shares) < 0:
        raise msgspec.ValidationError("people and requests must not be empty, and no share may be below 0 - at `$`")
    if not (sum(profile.people.values()) and sum(profile.requests.values())):
        raise msgspec.ValidationError("at least one share of people and one of requests must be above 0 - at `$`")
    if not all(0 <= share <= 1 for share in profile.regulars):
        raise msgspec.ValidationError("shares must be between 0 and 1 - at `$.regulars`")
    return profile
